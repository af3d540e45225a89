package gguf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// header writes GGUF metadata; the count of pairs is the number of pair calls.
type header struct {
	bytes.Buffer
	pairs uint64
}

func (h *header) str(s string) {
	_ = binary.Write(h, binary.LittleEndian, uint64(len(s)))
	h.WriteString(s)
}

func (h *header) pair(key string, kind uint32, values ...any) {
	h.pairs++
	h.str(key)
	_ = binary.Write(h, binary.LittleEndian, kind)
	for _, v := range values {
		if s, ok := v.(string); ok {
			h.str(s)
			continue
		}
		_ = binary.Write(h, binary.LittleEndian, v)
	}
}

func (h *header) file(pairs uint64) []byte {
	b := append([]byte("GGUF"), 3, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, 0)
	b = binary.LittleEndian.AppendUint64(b, pairs)
	return append(b, h.Bytes()...)
}

func goodHeader() *header {
	h := &header{}
	h.pair("llama.context_length", typeUint32, uint32(2048))
	h.pair("other.context_length", typeUint32, uint32(7))
	h.pair("general.architecture", typeString, "llama")
	h.pair("tokens", typeArray, uint32(typeString), uint64(2), "a", "bc")
	h.pair("scores", typeArray, uint32(6), uint64(2), float32(1), float32(2))
	h.pair("flag", 7, uint8(1))
	h.pair("big", 12, float64(1))
	h.pair("general.file_type", typeUint32, uint32(15))
	h.pair("text", typeString, "skipped")
	h.pair("general.name", typeString, "Tiny")
	return h
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	h := goodHeader()
	p := filepath.Join(t.TempDir(), "m.gguf")
	if err := os.WriteFile(p, h.file(h.pairs), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Describe(p)
	want := Info{Architecture: "llama", Name: "Tiny", Size: int64(len(h.file(0))), ContextLength: 2048, Quant: "Q4_K_M"}
	if err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if _, err := Describe(p + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestDescribeGarbage(t *testing.T) {
	t.Parallel()
	whole := goodHeader()
	full := whole.file(whole.pairs)
	for n := range full {
		if _, err := describe(bytes.NewReader(full[:n])); err == nil {
			t.Fatalf("the first %d bytes were taken for a whole header", n)
		}
	}
	bad := func(kind uint32, values ...any) []byte {
		h := &header{}
		h.pair("k", kind, values...)
		return h.file(1)
	}
	for name, b := range map[string][]byte{
		"no GGUF":           []byte("<html>"),
		"many pairs":        whole.file(1 << 60),
		"long string":       bad(typeString, uint64(1<<62)),
		"long array":        bad(typeArray, uint32(typeUint32), uint64(1<<62)),
		"array of arrays":   bad(typeArray, uint32(typeArray), uint64(1)),
		"unknown type":      bad(99),
		"unknown item type": bad(typeArray, uint32(99), uint64(1)),
	} {
		if _, err := describe(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestQuantNames(t *testing.T) {
	t.Parallel()
	for v, want := range map[uint64]string{0: "F32", 1: "F16", 7: "Q8_0", 14: "Q4_K_S", 15: "Q4_K_M", 30: "IQ4_XS", 32: "BF16", 900: "", 1024: "", 1 << 40: ""} {
		if got := quant(v); got != want {
			t.Errorf("%d: %q, want %q", v, got, want)
		}
	}
}

func FuzzDescribe(f *testing.F) {
	h := goodHeader()
	f.Add(h.file(h.pairs))
	f.Add(h.file(1 << 40))
	f.Add([]byte("GGUF\x03\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := describe(bytes.NewReader(b)); err == nil && Check(b[:min(len(b), SniffSize)]) != nil {
			t.Fatal("described what is no model")
		}
	})
}
