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
	maxKey     = 1 << 16
	maxString  = 1 << 20
	maxEntries = 1 << 26
	maxTensors = 1 << 17
	// maxDimensions is ggml's GGML_MAX_DIMS.
	maxDimensions = 4
	// MaxHeader is the size in bytes of the longest header that Walk reads.
	MaxHeader = 256 << 20
)

var errHeader = errors.New("its header cannot be read as GGUF")

// begin reads up to the metadata, and returns how many tensors and pairs it declares.
func (m *metadata) begin() (tensors, pairs uint64, err error) {
	head, _ := m.in.Peek(SniffSize)
	if err := Check(head); err != nil {
		return 0, 0, err
	}
	m.skip(HeadSize)
	tensors, pairs = m.uint(8), m.uint(8)
	if pairs > maxPairs || tensors > maxTensors {
		return 0, 0, fmt.Errorf("%w: it declares %d pairs of metadata and %d tensors", errHeader, pairs, tensors)
	}
	return tensors, pairs, nil
}

// Walk reads a whole header, metadata and tensors, and returns what is wrong with it. The
// error wraps io.EOF or io.ErrUnexpectedEOF where the header is longer than in.
func Walk(in io.Reader) error {
	m := &metadata{in: bufio.NewReaderSize(io.LimitReader(in, MaxHeader), 1<<16)}
	tensors, pairs, err := m.begin()
	if err != nil {
		return err
	}
	for i := uint64(0); i < pairs && m.err == nil; i++ {
		m.str(maxKey)
		m.value(uint32(m.uint(4))) //nolint:gosec // four bytes
	}
	for i := uint64(0); i < tensors && m.err == nil; i++ {
		m.str(maxKey)
		dimensions := m.uint(4)
		if m.err == nil && dimensions > maxDimensions {
			m.err = fmt.Errorf("it declares a tensor of %d dimensions", dimensions)
		}
		m.skip(int64(dimensions)*8 + 4 + 8) //nolint:gosec // bounded above; then type and place
	}
	if m.err != nil {
		return fmt.Errorf("%w: %w", errHeader, m.err)
	}
	return nil
}

// The value types of GGUF, from its specification.
const (
	typeUint32 = 4
	typeString = 8
	typeArray  = 9
	typeUint64 = 10
)

// scalarSize is the size in bytes of each value type that is neither string nor array.
var scalarSize = map[uint32]int{0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

// metadata reads GGUF's metadata. The first error sticks, and later reads return zero.
type metadata struct {
	in  *bufio.Reader
	err error
}

func (m *metadata) uint(size int) uint64 {
	var b [8]byte
	if m.err == nil {
		_, m.err = io.ReadFull(m.in, b[:size])
	}
	if m.err != nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b[:])
}

func (m *metadata) str(limit uint64) string {
	n := m.uint(8)
	if m.err == nil && n > limit {
		m.err = fmt.Errorf("it declares a string of %d bytes", n)
	}
	if m.err != nil {
		return ""
	}
	b := make([]byte, n)
	_, m.err = io.ReadFull(m.in, b)
	return string(b)
}

func (m *metadata) skip(n int64) {
	if m.err == nil {
		_, m.err = io.CopyN(io.Discard, m.in, n)
	}
}

// value reads past a value.
func (m *metadata) value(kind uint32) {
	switch {
	case m.err != nil:
	case kind == typeString:
		m.skipString()
	case kind == typeArray:
		of, n := uint32(m.uint(4)), m.uint(8) //nolint:gosec // four bytes
		if n > maxEntries || of == typeArray {
			m.err = fmt.Errorf("it declares an array of %d values of type %d", n, of)
		}
		if of != typeString {
			m.skipScalars(of, n)
			return
		}
		for i := uint64(0); i < n && m.err == nil; i++ {
			m.skipString()
		}
	default:
		m.skipScalars(kind, 1)
	}
}

func (m *metadata) skipString() {
	n := m.uint(8)
	if m.err == nil && n > maxEntries {
		m.err = fmt.Errorf("it declares a string of %d bytes", n)
	}
	m.skip(int64(n)) //nolint:gosec // bounded above
}

func (m *metadata) skipScalars(kind uint32, n uint64) {
	size, ok := scalarSize[kind]
	if !ok && m.err == nil {
		m.err = fmt.Errorf("it has a value of the unknown type %d", kind)
	}
	if m.err == nil {
		m.skip(int64(n) * int64(size)) //nolint:gosec // bounded by maxEntries
	}
}
