package model

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	ggufparser "github.com/gpustack/gguf-parser-go"
)

// Info is what a GGUF says of itself.
type Info struct {
	// Architecture is llama.cpp's name for the kind of network, such as "llama".
	Architecture string
	// Name is the author's name for the model; often empty.
	Name string
	// Size of the file in bytes.
	Size int64
	// ContextLength is the context that the model was trained for, in tokens; 0
	// where it does not say.
	ContextLength uint64
	// Quant is the quantisation of most of the tensors, such as "Q4_K_M"; empty
	// where it does not say.
	Quant string
}

// What a header may ask for at most, so that a wrong one costs no memory. Real
// ones stay far below: a large vocabulary has some hundred thousand entries.
const (
	maxPairs   = 1 << 16
	maxKey     = 1 << 16
	maxString  = 1 << 20
	maxEntries = 1 << 26
	maxTensors = 1 << 17
	// maxDimensions is ggml's GGML_MAX_DIMS.
	maxDimensions = 4
	maxHeader     = 256 << 20
)

var errHeader = errors.New("its header cannot be read as GGUF")

// Describe reads a GGUF's metadata. It reads pairs of key and value only until it
// knows all of Info, and not the tensors.
//
// The walk is our own since the parser library panics on a wrong header and
// allocates what it declares; the names of the quantisations are the library's.
func Describe(path string) (Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return Info{}, fmt.Errorf("describe model: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Info{}, fmt.Errorf("describe model: %w", err)
	}
	info, err := describe(f)
	if err != nil {
		return Info{}, fmt.Errorf("describe model %s: %w", path, err)
	}
	info.Size = st.Size()
	return info, nil
}

// begin reads up to the metadata, and says how much there is of it.
func (m *metadata) begin() (tensors, pairs uint64, err error) {
	head, _ := m.in.Peek(sniffSize)
	if err := checkHeader(head); err != nil {
		return 0, 0, err
	}
	m.skip(headerSize)
	tensors, pairs = m.uint(8), m.uint(8)
	if pairs > maxPairs || tensors > maxTensors {
		return 0, 0, fmt.Errorf("%w: it declares %d pairs of metadata and %d tensors", errHeader, pairs, tensors)
	}
	return tensors, pairs, nil
}

// walkHeader reads a whole header, metadata and tensors, and says what is wrong with
// it: io.EOF or io.ErrUnexpectedEOF where it goes on behind what there is to read.
func walkHeader(in io.Reader) error {
	m := &metadata{in: bufio.NewReaderSize(io.LimitReader(in, maxHeader), 1<<16)}
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

func describe(in io.Reader) (Info, error) {
	r := &metadata{in: bufio.NewReaderSize(in, 1<<16)}
	_, pairs, err := r.begin()
	if err != nil {
		return Info{}, err
	}
	var info Info
	contexts := map[string]uint64{}
	for range pairs {
		key, kind := r.str(maxKey), uint32(r.uint(4)) //nolint:gosec // four bytes
		switch {
		case key == "general.architecture" && kind == typeString:
			info.Architecture = printable(r.str(maxString))
		case key == "general.name" && kind == typeString:
			info.Name = printable(r.str(maxString))
		case key == "general.file_type" && kind == typeUint32:
			info.Quant = quant(r.uint(4))
		case strings.HasSuffix(key, ".context_length") && (kind == typeUint32 || kind == typeUint64):
			contexts[key] = r.uint(scalarSize[kind])
		default:
			r.value(kind)
		}
		if r.err != nil {
			return Info{}, fmt.Errorf("%w: %w", errHeader, r.err)
		}
		info.ContextLength = contexts[info.Architecture+".context_length"]
		if info.Architecture != "" && info.Name != "" && info.Quant != "" && info.ContextLength != 0 {
			break
		}
	}
	if r.err != nil {
		return Info{}, fmt.Errorf("%w: %w", errHeader, r.err)
	}
	return info, nil
}

// quant names a general.file_type as llama.cpp does. The library spells a few
// with a prefix.
func quant(v uint64) string {
	if v >= 1024 { // "guessed" and beyond
		return ""
	}
	name := strings.TrimPrefix(ggufparser.GGUFFileType(v).String(), "MOSTLY_") //nolint:gosec // below 1024
	if strings.ContainsAny(name, "( ") {
		return "" // a number that the library has no name for
	}
	return name
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

// metadata reads GGUF's metadata. The first error sticks, and what is read after
// it is zero.
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
