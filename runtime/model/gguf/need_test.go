package gguf

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	fixture "github.com/llorch/llorch-bk/fixtures/gguf"
)

// tinyModel is a model whose header can be read.
func tinyModel(t testing.TB) []byte {
	t.Helper()
	var b strings.Builder
	if err := fixture.WriteTinyLlama(&b); err != nil {
		t.Fatal(err)
	}
	return []byte(b.String())
}

// headerOf is the header of a file with this content.
func headerOf(t testing.TB, body []byte) Header {
	t.Helper()
	file := filepath.Join(t.TempDir(), "m.gguf")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return Header{Path: file}
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
	h.Alone, h.Rest = true, 1<<30
	if n := need(128, false); n.RAM != small.RAM+1<<30 {
		t.Errorf("with a gigabyte in other files %+v, alone %+v", n, small)
	}
	if n := need(128, true); n.VRAM != onGPU.VRAM+1<<30 || n.RAM != onGPU.RAM {
		t.Errorf("on a GPU with a gigabyte in other files %+v, alone %+v", n, onGPU)
	}
	for name, b := range map[string][]byte{
		"cut": body[:len(body)/3], "empty": nil, "no header": append([]byte("GGUF\x03\x00\x00\x00"), bytes.Repeat([]byte{0xa5}, 4096)...),
		"a billion tensors": append([]byte("GGUF\x03\x00\x00\x00\x00\xca\x9a\x3b"), make([]byte, 4096)...),
	} {
		if n, err := headerOf(t, b).Need(0, false); err == nil {
			t.Errorf("%s is estimated at %+v", name, n)
		}
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
