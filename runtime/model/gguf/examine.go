package gguf

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// Facts is what a whole header says about its file.
type Facts struct {
	// Architecture is llama.cpp's name for the kind of network, such as "llama".
	Architecture string
	// Type is general.type, such as "model" or "adapter"; older files have none.
	Type string
	// Quant is the quantisation of most of the tensors, such as "Q4_K_M"; empty where it
	// does not say.
	Quant string
	// Split is the file's place in a model that is in several files.
	Split Split
	// Tensors is how many the file has.
	Tensors int
	// Data and End are where the tensors' data begins, and where the last of it ends, in
	// bytes from the file's beginning. A file that is shorter than End is cut.
	Data, End int64

	// firstBlock says that the network's first block is in the file, draft that blocks are
	// that only draft tokens.
	firstBlock, draft bool
}

// Split is the place of a file in a model that is in several, as its header says it.
type Split struct {
	// Index counts from 0. Count is how many files there are; 0 or 1 for a model in one.
	Index, Count int
}

// Examine reads a whole header and checks all that a server relies on: counts, lengths,
// names, types, and where the data of every tensor is. Size is the file's in bytes,
// negative where in is only the beginning of a file of unknown size. The error is a
// *HeaderError, or wraps ErrNotModel where the file is something else.
//
// llama.cpp checks much of this too. It is done here first because a file comes from
// outside, releases differ in what they check, and a program in C++ that misses one check
// does not fail but reads or writes elsewhere in its memory.
func Examine(in io.Reader, size int64) (Facts, error) {
	r := newReader(in, size)
	tensors, pairs, err := r.begin()
	if err != nil {
		return Facts{}, err
	}
	m := metadata{reader: r, seen: map[string]bool{}, alignment: defaultAlignment}
	for i := uint64(0); i < pairs && r.err == nil; i++ {
		m.pair(i)
	}
	m.finish()
	t := table{reader: r, names: map[string]bool{}, alignment: m.alignment, facts: &m.facts}
	for i := uint64(0); i < tensors && r.err == nil; i++ {
		t.tensor(i)
	}
	t.finish()
	return m.facts, r.err
}

// ExamineFile is Examine of a file on this host.
func ExamineFile(path string) (Facts, error) {
	f, err := os.Open(path)
	if err != nil {
		return Facts{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Facts{}, err
	}
	return Examine(f, info.Size())
}

// Walk reads a whole header, metadata and tensors, and returns what is wrong with it. The
// error wraps io.ErrUnexpectedEOF where the header is longer than in.
func Walk(in io.Reader) error {
	_, err := Examine(in, -1)
	return err
}

// metadata reads the pairs of a header.
type metadata struct {
	*reader
	facts     Facts
	alignment uint64
	seen      map[string]bool
	// tokens is how many the vocabulary has, lists are the arrays that belong to it.
	tokens uint64
	lists  []list
	// splitAt is where split.no is.
	splitAt int64
}

// list is an array that has a value for each token.
type list struct {
	key string
	at  int64
	n   uint64
}

// defaultAlignment is GGUF's, where general.alignment is missing; maxAlignment is far
// above any that is of use.
const (
	defaultAlignment = 32
	maxAlignment     = 1 << 16
)

func (m *metadata) pair(i uint64) {
	key := m.name("key", i, maxKey, m.seen)
	at := m.at
	kind := m.kind()
	if m.err != nil {
		return
	}
	switch key {
	case "general.architecture":
		m.facts.Architecture = m.text(at, kind)
	case "general.type":
		m.facts.Type = m.text(at, kind)
	case "general.alignment":
		m.align(at, kind)
	case "general.file_type":
		m.facts.Quant = quant(m.number(at, kind))
	case "split.no":
		m.splitAt = at
		m.facts.Split.Index = int(min(m.number(at, kind), 1<<16)) //nolint:gosec // bounded
	case "split.count":
		m.facts.Split.Count = m.shards(at, kind)
	default:
		of, n := m.value(kind)
		m.vocabulary(key, at, kind, of, n)
	}
}

// name reads the name of a key or tensor, and makes it the part that is read.
func (r *reader) name(what string, i, limit uint64, seen map[string]bool) string {
	r.part = numbered(what, i)
	at := r.at
	name := r.str(limit)
	switch {
	case r.err != nil:
		return ""
	case name == "":
		r.fail(at, "it has no name")
		return ""
	}
	r.part = what + " " + quoted(name)
	switch {
	case strings.ContainsFunc(name, func(c rune) bool { return c < 0x20 || c == 0x7f }) || !utf8.ValidString(name):
		r.fail(at, "the name has characters that no name has")
	case seen[name]:
		r.fail(at, "the name is there twice")
	}
	seen[name] = true
	return name
}

func numbered(what string, i uint64) string { return fmt.Sprintf("%s number %d", what, i+1) }

// text reads a value that must be a string.
func (m *metadata) text(at int64, kind uint32) string {
	if kind != typeString {
		m.fail(at, "its type is %d, not %d (a string)", kind, typeString)
		return ""
	}
	return m.str(maxText)
}

// number reads a value that must be an integer.
func (m *metadata) number(at int64, kind uint32) uint64 {
	size, scalar := scalarSize[kind]
	if !scalar || kind == typeFloat32 || kind == typeFloat64 || kind == typeBool {
		m.fail(at, "its type is %d, which is not an integer", kind)
		return 0
	}
	return m.uint(size)
}

// align reads the alignment. llama.cpp ends itself on one of another type, and reads
// beyond its buffers on one that is no power of two.
func (m *metadata) align(at int64, kind uint32) {
	if kind != typeUint32 {
		m.fail(at, "its type is %d, not %d (an unsigned number of 32 bits)", kind, typeUint32)
		return
	}
	m.alignment = m.uint(4)
	if m.alignment < 8 || m.alignment > maxAlignment || m.alignment&(m.alignment-1) != 0 {
		m.fail(at+4, "an alignment of %d is not a power of two from 8 to %d", m.alignment, maxAlignment)
	}
}

func (m *metadata) shards(at int64, kind uint32) int {
	n := m.number(at, kind)
	if n > MaxShards {
		m.fail(at+4, "the model is said to be in %d files, more than %d", n, MaxShards)
		return 0
	}
	return int(n)
}

// vocabulary looks at the arrays that have a value for each token. Releases of llama.cpp
// before 2026 read all of them as far as the tokens go.
func (m *metadata) vocabulary(key string, at int64, kind, of uint32, n uint64) {
	switch key {
	case "tokenizer.ggml.tokens":
		if m.tokens = n; kind != typeArray || of != typeString {
			m.fail(at, "it is not an array of strings")
		}
	case "tokenizer.ggml.scores", "tokenizer.ggml.token_type":
		if m.lists = append(m.lists, list{key, at, n}); kind != typeArray || scalarSize[of] != 4 {
			m.fail(at, "it is not an array of values of 32 bits")
		}
	case "tokenizer.ggml.merges":
		if kind != typeArray || of != typeString {
			m.fail(at, "it is not an array of strings")
		}
	}
}

// finish checks what the pairs say about each other.
func (m *metadata) finish() {
	for _, l := range m.lists {
		if m.part = "key " + quoted(l.key); l.n < m.tokens {
			m.fail(l.at, "it has %d values for %d tokens", l.n, m.tokens)
		}
	}
	if s := m.facts.Split; s.Index >= max(s.Count, 1) {
		m.part = `key "split.no"`
		m.fail(m.splitAt, "the file is number %d of %d", s.Index+1, max(s.Count, 1))
	}
}
