package gguf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The most that a header may declare, so that a wrong one costs no memory. Real headers
// stay far below: a large vocabulary has a few hundred thousand entries.
const (
	maxPairs   = 1 << 16
	maxTensors = 1 << 17
	// maxKey is the longest key in bytes, by GGUF's specification.
	maxKey = 1<<16 - 1
	// maxText is the longest string in bytes that is read into memory.
	maxText = 1 << 20
	// maxString is the longest string in bytes, maxEntries the longest array.
	maxString  = 1 << 26
	maxEntries = 1 << 26
	// MaxHeader is the size in bytes of the longest header that is read.
	MaxHeader = 256 << 20
)

// The value types of GGUF, from its specification.
const (
	typeUint32  = 4
	typeFloat32 = 6
	typeBool    = 7
	typeString  = 8
	typeArray   = 9
	typeUint64  = 10
	typeFloat64 = 12
)

// scalarSize is the size in bytes of each value type that is neither string nor array.
var scalarSize = map[uint32]int{0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

// reader reads a header, and knows where it is in the file. The first error sticks, and
// later reads return zero.
type reader struct {
	in *bufio.Reader
	// at is the offset in the file of the next byte. Size is the file's, negative where
	// nobody knows it.
	at, size int64
	// part is what is read now, in words, for errors.
	part string
	err  error
}

func newReader(in io.Reader, size int64) *reader {
	buffer := 1 << 16
	if size >= 0 {
		buffer = int(max(min(size, 1<<16), SniffSize))
	}
	return &reader{in: bufio.NewReaderSize(in, buffer), size: size, part: "the beginning"}
}

// fail records what is wrong at an offset.
func (r *reader) fail(at int64, format string, args ...any) {
	r.failAs(nil, at, format, args...)
}

func (r *reader) failAs(kind error, at int64, format string, args ...any) {
	if r.err == nil {
		r.err = &HeaderError{At: at, Part: r.part, Problem: fmt.Sprintf(format, args...), kind: kind}
	}
}

// has reports whether n more bytes can be in the file. It fails where they cannot.
func (r *reader) has(n uint64) bool {
	if r.err != nil {
		return false
	}
	if n > uint64(MaxHeader-r.at) { //nolint:gosec // at is never above MaxHeader
		r.fail(r.at, "the header is longer than %d MiB", MaxHeader>>20)
	} else if r.size >= 0 && n > uint64(max(r.size-r.at, 0)) { //nolint:gosec // not negative
		r.failAs(ErrCut, r.at, "%d bytes should follow, and the file has %d more", n, max(r.size-r.at, 0))
	}
	return r.err == nil
}

// moved counts bytes that were read, and records why there are no more.
func (r *reader) moved(n int, err error) {
	r.at += int64(n)
	switch {
	case err == nil || r.err != nil:
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		r.failAs(ErrCut, r.at, "the file ends inside the header")
	default:
		r.err = err
	}
}

func (r *reader) uint(size int) uint64 {
	var b [8]byte
	if !r.has(uint64(size)) { //nolint:gosec // 1 to 8
		return 0
	}
	n, err := io.ReadFull(r.in, b[:size])
	r.moved(n, err)
	if err != nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b[:])
}

// str reads a string of at most limit bytes.
func (r *reader) str(limit uint64) string {
	n := r.length(limit)
	if r.err != nil {
		return ""
	}
	b := make([]byte, n)
	got, err := io.ReadFull(r.in, b)
	r.moved(got, err)
	if err != nil {
		return ""
	}
	return string(b)
}

// length reads how long a string is, which is at most limit.
func (r *reader) length(limit uint64) uint64 {
	at := r.at
	n := r.uint(8)
	if r.err == nil && n > limit {
		r.fail(at, "it declares a string of %d bytes, more than %d", n, limit)
	}
	if !r.has(n) {
		return 0
	}
	return n
}

func (r *reader) skip(n uint64) {
	for n > 0 && r.has(n) {
		got, err := r.in.Discard(int(min(n, 1<<20))) //nolint:gosec // bounded
		r.moved(got, err)
		n -= uint64(got) //nolint:gosec // not negative
	}
}

// begin reads up to the metadata, and returns how many tensors and pairs it declares.
func (r *reader) begin() (tensors, pairs uint64, err error) {
	head, _ := r.in.Peek(SniffSize)
	if err := Check(head); err != nil {
		return 0, 0, err
	}
	r.skip(HeadSize)
	r.part = "the counts"
	tensors = r.count("tensors", maxTensors, minTensor)
	pairs = r.count("pairs of metadata", maxPairs, minPair)
	return tensors, pairs, r.err
}

// The fewest bytes that a pair and a tensor take in a header.
const (
	minPair   = 8 + 1 + 4 + 1
	minTensor = 8 + 1 + 4 + 4 + 8
)

// count reads how many of something there are, each of at least a number of bytes.
func (r *reader) count(of string, most, each uint64) uint64 {
	at := r.at
	n := r.uint(8)
	switch {
	case r.err != nil:
	case n > most:
		r.fail(at, "it declares %d %s, more than %d", n, of, most)
	case r.size >= 0 && n*each > uint64(max(r.size-r.at, 0)): //nolint:gosec // not negative
		r.failAs(ErrCut, at, "it declares %d %s, which %d bytes cannot hold", n, of, max(r.size-r.at, 0))
	}
	return n
}

// kind reads the type of a value.
func (r *reader) kind() uint32 { return uint32(r.uint(4)) } //nolint:gosec // four bytes

// value reads past a value. Of an array it returns the type of the elements and how many
// they are; of anything else, zeros.
func (r *reader) value(kind uint32) (of uint32, n uint64) {
	switch kind {
	case typeString:
		r.skip(r.length(maxString))
	case typeArray:
		return r.array()
	default:
		r.scalars(r.at-4, kind, 1)
	}
	return 0, 0
}

func (r *reader) array() (of uint32, n uint64) {
	at := r.at
	of = r.kind()
	countAt := r.at
	n = r.uint(8)
	switch {
	case r.err != nil:
	case n > maxEntries:
		r.fail(countAt, "it declares an array of %d values, more than %d", n, maxEntries)
	case of == typeArray:
		r.fail(at, "it is an array of arrays, which llama.cpp does not read")
	case of == typeString:
		if !r.has(8 * n) {
			break
		}
		for i := uint64(0); i < n && r.err == nil; i++ {
			r.skip(r.length(maxString))
		}
	default:
		r.scalars(at, of, n)
	}
	return of, n
}

// scalars reads past n values of a type, which is declared at an offset.
func (r *reader) scalars(at int64, kind uint32, n uint64) {
	size, ok := scalarSize[kind]
	switch {
	case r.err != nil:
	case !ok:
		r.fail(at, "%d is the number of no type of value", kind)
	case kind == typeBool:
		r.bools(n)
	default:
		r.skip(n * uint64(size)) //nolint:gosec // n is bounded by maxEntries
	}
}

// bools reads past bools, which are bytes of 0 or 1. Programs in C++ may do anything with
// another.
func (r *reader) bools(n uint64) {
	if !r.has(n) {
		return
	}
	for range n {
		at := r.at
		b, err := r.in.ReadByte()
		if err != nil {
			r.moved(0, err)
			return
		}
		r.moved(1, nil)
		if b > 1 {
			r.fail(at, "a bool is the byte %d, not 0 or 1", b)
			return
		}
	}
}
