package model

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestEstimate(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tiny.gguf")
	body := tinyModel(t)
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	small, err := Estimate(file, 128, false)
	if err != nil {
		t.Fatal(err)
	}
	large, err := Estimate(file, 1<<20, false)
	if err != nil {
		t.Fatal(err)
	}
	if small.RAM <= int64(len(body))/2 || small.VRAM != 0 || large.RAM <= small.RAM {
		t.Errorf("with 128 tokens %+v, with a million %+v, of a file of %d bytes", small, large, len(body))
	}
	onGPU, err := Estimate(file, 128, true)
	if err != nil || onGPU.VRAM == 0 {
		t.Errorf("on a GPU: %+v, %v", onGPU, err)
	}
	// What is no model is an error, whatever the library does with it.
	for name, b := range map[string][]byte{"garbage": aModel(4096, 1), "cut": body[:len(body)/3], "empty": nil} {
		bad := filepath.Join(t.TempDir(), "bad.gguf")
		if err := os.WriteFile(bad, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := Estimate(bad, 0, false); err == nil {
			t.Logf("%s is estimated at %+v", name, n)
		}
	}
}

func TestSmaller(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, bytes := range map[string]int{"m-Q8_0.gguf": 8 << 20, "m-Q4_K_M.gguf": 4 << 20, "m-Q2_K.gguf": 2 << 20, "mmproj-F16.gguf": 5 << 20} {
		r.hub.Add(aRepo, name, aModel(bytes, 1))
	}
	l, err := r.fetch(t, "hf:org/tiny:Q8_0")
	if err != nil {
		t.Fatal(err)
	}
	for less, want := range map[int64]string{1: "hf:org/tiny:Q4_K_M", 4 << 20: "hf:org/tiny:Q4_K_M", 5 << 20: "hf:org/tiny:Q2_K"} {
		if got, err := r.Smaller(t.Context(), l, less); err != nil || got != want {
			t.Errorf("%d less: %q, %v, want %s", less, got, err, want)
		}
	}
	if got, err := r.Smaller(t.Context(), l, 7<<20); !errors.Is(err, errNoSmaller) {
		t.Errorf("nothing fits: %q, %v", got, err)
	}
}
