package model

import (
	"bytes"
	"testing"

	"github.com/llorch/llorch-bk/fixtures/gguf"
)

// aGGUF is a file with a header that can be read; entries are added to its metadata.
func aGGUF(t testing.TB, entries ...gguf.Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	err := gguf.Write(&b, gguf.File{
		Metadata: append([]gguf.Entry{{Key: "general.architecture", Value: "llama"}}, entries...),
		Tensors:  []gguf.Tensor{{Name: "blk.0.norm.weight", Dims: []uint64{4096}, Data: make([]float32, 4096)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func named(name string) gguf.Entry { return gguf.Entry{Key: "general.name", Value: name} }

// aPart is one file of a split model.
func aPart(t testing.TB, index, count int) []byte {
	t.Helper()
	return aGGUF(t, named("part"), gguf.Entry{Key: "split.no", Value: uint32(index)}, gguf.Entry{Key: "split.count", Value: uint32(count)}) //nolint:gosec // small
}

func ggufType(value string) gguf.Entry { return gguf.Entry{Key: "general.type", Value: value} }
