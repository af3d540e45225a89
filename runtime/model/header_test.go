package model

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
)

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
