package gguf

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"strings"

	ggufparser "github.com/gpustack/gguf-parser-go"
)

const (
	// maxName is the longest name of a tensor in bytes: ggml keeps GGML_MAX_NAME bytes,
	// with a zero at the end.
	maxName = 63
	// maxDimensions is ggml's GGML_MAX_DIMS.
	maxDimensions = 4
	// foreignTypes bounds the numbers of types that are not ggml's own: forks have given
	// their own types numbers up to a few hundred, and new releases add to ggml's.
	foreignTypes = 1024
)

// extent is where a tensor's data is, in bytes from the beginning of all data.
type extent struct {
	name     string
	at       int64 // of its entry in the header
	from, to uint64
}

// table reads the entries of a header's tensors.
type table struct {
	*reader
	facts     *Facts
	alignment uint64
	names     map[string]bool
	extents   []extent
}

func (t *table) tensor(i uint64) {
	e := extent{at: t.at}
	e.name = t.name("tensor", i, maxName, t.names)
	dims := t.dimensions()
	typeAt := t.at
	kind := ggufparser.GGMLType(t.kind())
	offsetAt := t.at
	e.from = t.uint(8)
	if t.err != nil {
		return
	}
	size := t.bytes(typeAt, kind, dims)
	var over uint64
	if e.to, over = bits.Add64(e.from, size, 0); over != 0 || e.to > math.MaxInt64/2 {
		t.fail(offsetAt, "its data would be at %d, beyond any file", e.from)
	}
	if e.from%t.alignment != 0 {
		t.fail(offsetAt, "its data is at %d, which is not a multiple of the alignment %d", e.from, t.alignment)
	}
	t.extents = append(t.extents, e)
	t.facts.firstBlock = t.facts.firstBlock || strings.Contains(e.name, "blk.0.")
	t.facts.draft = t.facts.draft || strings.Contains(e.name, ".nextn.")
}

// dimensions reads the lengths of a tensor's dimensions.
func (t *table) dimensions() []uint64 {
	at := t.at
	n := t.uint(4)
	if t.err == nil && n > maxDimensions {
		t.fail(at, "it has %d dimensions, more than %d", n, maxDimensions)
	}
	var dims []uint64
	for i := uint64(0); i < n && t.err == nil; i++ {
		at := t.at
		d := t.uint(8)
		if t.err == nil && (d == 0 || d > math.MaxInt64) {
			// llama.cpp divides by it.
			t.fail(at, "dimension %d has the length %d", i+1, int64(d)) //nolint:gosec // as llama.cpp sees it
		}
		dims = append(dims, d)
	}
	return dims
}

// bytes is how many bytes of data a tensor has; 0 for a type that ggml did not have when
// this was written.
func (t *table) bytes(at int64, kind ggufparser.GGMLType, dims []uint64) uint64 {
	trait, known := kind.Trait()
	switch {
	case !known && kind < foreignTypes:
		return 0
	case !known:
		t.fail(at, "%d is the number of no type of tensor", kind)
		return 0
	case isGone(kind):
		t.fail(at, "its type %d was removed from llama.cpp", kind)
		return 0
	}
	elements, row := uint64(1), uint64(1)
	for i, d := range dims {
		if i == 0 {
			row = d
		}
		var over uint64
		if over, elements = bits.Mul64(elements, d); over != 0 || elements >= math.MaxInt64 {
			t.fail(at, "its dimensions %d make more elements than can be counted", dims)
			return 0
		}
	}
	if row%trait.BlockSize != 0 {
		t.fail(at, "a row has %d elements, not a multiple of the %d in a block of type %d", row, trait.BlockSize, kind)
		return 0
	}
	over, size := bits.Mul64(elements/trait.BlockSize, trait.TypeSize)
	if over != 0 || size > math.MaxInt64/2 {
		t.fail(at, "its dimensions %d make more bytes than can be counted", dims)
		return 0
	}
	return size
}

// isGone reports whether a type had a number once that llama.cpp refuses now: two of 2023,
// and those of 2024 whose blocks are arranged for one kind of CPU.
func isGone(kind ggufparser.GGMLType) bool {
	switch kind {
	case ggufparser.GGMLTypeQ4_2, ggufparser.GGMLTypeQ4_3,
		ggufparser.GGMLTypeQ4_0_4_4, ggufparser.GGMLTypeQ4_0_4_8, ggufparser.GGMLTypeQ4_0_8_8,
		ggufparser.GGMLTypeIQ4_NL_4_4, ggufparser.GGMLTypeIQ4_NL_4_8, ggufparser.GGMLTypeIQ4_NL_8_8:
		return true
	}
	return false
}

// finish checks that no tensors share data, and that the file has all of it.
func (t *table) finish() {
	if t.err != nil {
		return
	}
	f := t.facts
	f.Tensors = len(t.extents)
	f.Data, f.End = t.at, t.at
	if len(t.extents) == 0 {
		return
	}
	f.Data = (t.at + int64(t.alignment) - 1) &^ (int64(t.alignment) - 1) //nolint:gosec // at most maxAlignment
	slices.SortStableFunc(t.extents, func(a, b extent) int { return cmp.Compare(a.from, b.from) })
	for i, e := range t.extents {
		t.part = "tensor " + quoted(e.name)
		if i > 0 && e.from < t.extents[i-1].to {
			before := t.extents[i-1]
			t.fail(e.at, "its data begins at %d, inside that of %s, which goes to %d", e.from, quoted(before.name), before.to)
		}
		f.End = max(f.End, f.Data+int64(e.to)) //nolint:gosec // bounded in tensor
		if t.size >= 0 && f.End > t.size {
			t.failAs(ErrCut, e.at, "its data ends at byte %d, and the file has %d bytes", f.End, t.size)
		}
		if t.err != nil {
			return
		}
	}
}
