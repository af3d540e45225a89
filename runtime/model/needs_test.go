package model

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// headerOf is that of a file that holds these bytes.
func headerOf(t testing.TB, body []byte) Header {
	t.Helper()
	file := filepath.Join(t.TempDir(), "m.gguf")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return Local{Path: file, Size: int64(len(body))}.Header()
}

func TestNeed(t *testing.T) {
	t.Parallel()
	body := tinyModel(t)
	h := headerOf(t, body)
	need := func(tokens int, onGPU bool) Need {
		t.Helper()
		n, err := h.Need(tokens, onGPU)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	small, large, onGPU := need(128, false), need(1<<20, false), need(128, true)
	if small.RAM <= int64(len(body))/2 || small.VRAM != 0 || large.RAM <= small.RAM || onGPU.VRAM == 0 {
		t.Errorf("with 128 tokens %+v, on a GPU %+v, with a million %+v, of a file of %d bytes", small, onGPU, large, len(body))
	}
	// The first of several files knows the rest by its size.
	h.alone, h.Size = int64(len(body)), int64(len(body))+1<<30
	if n := need(128, false); n.RAM != small.RAM+1<<30 {
		t.Errorf("with a gigabyte in other files %+v, alone %+v", n, small)
	}
	if n := need(128, true); n.VRAM != onGPU.VRAM+1<<30 || n.RAM != onGPU.RAM {
		t.Errorf("on a GPU with a gigabyte in other files %+v, alone %+v", n, onGPU)
	}
	for name, b := range map[string][]byte{
		"cut": body[:len(body)/3], "empty": nil, "no header": aModel(4096, 1),
		"a billion tensors": append([]byte("GGUF\x03\x00\x00\x00\x00\xca\x9a\x3b"), make([]byte, 4096)...),
	} {
		if n, err := headerOf(t, b).Need(0, false); err == nil {
			t.Errorf("%s is estimated at %+v", name, n)
		}
	}
}

// TestEarly holds that a model's header is told of before the rest of it is there,
// with the size of all its files, and at most once.
func TestEarly(t *testing.T) {
	t.Parallel()
	tiny := tinyModel(t)
	body := append(tiny, make([]byte, 12<<20)...) //nolint:gocritic // a new file
	for name, c := range map[string]struct {
		ref  string
		size int64
	}{
		"in pieces": {"hf:org/tiny/m.gguf", int64(len(body))},
		"in shards": {"hf:org/tiny/s-00001-of-00002.gguf", int64(len(body)) + 4096},
		"the web":   {"", int64(len(body))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.hub.Add(aRepo, "m.gguf", body)
			r.hub.Add(aRepo, "s-00001-of-00002.gguf", body)
			r.hub.Add(aRepo, "s-00002-of-00002.gguf", aModel(4096, 2))
			if c.ref == "" {
				c.ref = r.hub.Serve("m.gguf", `"v1"`, body) + "#sha256=" + sum(body)
			}
			var told []Header
			r.Early = func(_ context.Context, h Header) {
				if n, err := h.Need(128, false); err != nil || n.RAM < c.size-int64(len(body)) {
					t.Errorf("%+v, %v", n, err)
				}
				if l, err := filepath.Glob(filepath.Join(r.Store.Dir(), "*", "snapshots", "*", "*")); err != nil || len(l) > 0 {
					t.Errorf("it is too late: %v is there", l)
				}
				told = append(told, h)
			}
			for range 2 {
				if _, err := r.fetch(t, c.ref); err != nil {
					t.Fatal(err)
				}
			}
			if len(told) != 1 || told[0].Size != c.size {
				t.Errorf("told of %+v, want one of %d bytes", told, c.size)
			}
		})
	}
}

// FuzzNeed holds that no header makes the estimate end the process.
func FuzzNeed(f *testing.F) {
	f.Add(tinyModel(f)[:2048], 512, true)
	h := goodHeader()
	f.Add(h.file(h.pairs), 0, false)
	f.Fuzz(func(t *testing.T, b []byte, tokens int, onGPU bool) {
		if n, err := headerOf(t, b).Need(tokens, onGPU); err == nil && n.RAM < 0 {
			t.Fatalf("%+v", n)
		}
	})
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
		if got, err := r.Smaller(t.Context(), l.Header(), less); err != nil || got != want {
			t.Errorf("%d less: %q, %v, want %s", less, got, err, want)
		}
	}
	if got, err := r.Smaller(t.Context(), l.Header(), 7<<20); !errors.Is(err, errNoSmaller) {
		t.Errorf("nothing fits: %q, %v", got, err)
	}
}
