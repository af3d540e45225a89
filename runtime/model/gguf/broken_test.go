package gguf

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	fixture "github.com/llorch/llorch-bk/fixtures/gguf"
)

// The places of what every file begins with.
const (
	atVersion = 4
	atTensors = 8
	atPairs   = 16
)

// aBroken is a header that is refused, and what is said of it.
type aBroken struct {
	// file changes what is written, bytes what was written.
	file  func(*fixture.File)
	bytes func(*broken)
	// part and problem are what is said, at the place of the last change to the bytes.
	part, problem string
}

// brokenHeaders are files whose header a server must not see, by what is broken.
func brokenHeaders() map[string]aBroken {
	at := func(change func(*broken), part, problem string) aBroken {
		return aBroken{bytes: change, part: part, problem: problem}
	}
	value32 := func(key string, skip int, v uint32) func(*broken) {
		return func(x *broken) { x.put32(x.after(key)+skip, v) }
	}
	value64 := func(key string, skip int, v uint64) func(*broken) {
		return func(x *broken) { x.put64(x.after(key)+skip, v) }
	}
	count := func(where int, n uint64) func(*broken) { return func(x *broken) { x.put64(where, n) } }
	const (
		embed, block, output = "token_embd.weight", "blk.0.norm.weight", "output.weight"
		tokens, types        = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
	)
	all := map[string]aBroken{
		"tensors: 2^63":             at(count(atTensors, 1<<63), "the counts", "tensors, more than"),
		"tensors: all bits":         at(count(atTensors, 1<<64-1), "the counts", "tensors, more than"),
		"tensors: above the limit":  at(count(atTensors, 1<<17+1), "the counts", "131073 tensors, more than"),
		"tensors: more than fit":    at(count(atTensors, 1000), "the counts", "1000 tensors, which"),
		"pairs: 2^63":               at(count(atPairs, 1<<63), "the counts", "pairs of metadata, more than"),
		"pairs: all bits":           at(count(atPairs, 1<<64-1), "the counts", "pairs of metadata, more than"),
		"pairs: above the limit":    at(count(atPairs, 1<<16+1), "the counts", "65537 pairs"),
		"pairs: more than fit":      at(count(atPairs, 1000), "the counts", "1000 pairs of metadata, which"),
		"key: no name":              at(func(x *broken) { x.put64(x.name("x.big"), 0) }, "key number 12", "has no name"),
		"key: longer than allowed":  at(func(x *broken) { x.put64(x.name("x.big"), 1<<16) }, "key number 12", "a string of 65536 bytes"),
		"key: length 2^63":          at(func(x *broken) { x.put64(x.name("x.big"), 1<<63) }, "key number 12", "a string of 9223372036854775808 bytes"),
		"key: length of all bits":   at(func(x *broken) { x.put64(x.name("x.big"), 1<<64-1) }, "key number 12", "a string of"),
		"key: a control character":  at(func(x *broken) { x.put(x.name("x.big")+8, "x\x00"); x.at -= 8 }, "key \"xbig\"", "characters that no name has"),
		"key: not UTF-8":            at(func(x *broken) { x.put(x.name("x.big")+8, "\xff"); x.at -= 8 }, "key", "characters that no name has"),
		"key: twice":                at(func(x *broken) { x.put(x.name("x.big")+8, "x.yes"); x.at -= 8 }, `key "x.yes"`, "twice"),
		"type: one too many":        at(value32("x.big", 0, 13), `key "x.big"`, "13 is the number of no type"),
		"type: 2^31":                at(value32("x.big", 0, 1<<31), `key "x.big"`, "2147483648 is the number of no type"),
		"architecture: a number":    at(value32("general.architecture", 0, 4), `key "general.architecture"`, "its type is 4, not 8"),
		"architecture: an array":    at(value32("general.architecture", 0, 9), `key "general.architecture"`, "its type is 9, not 8"),
		"file's kind: a number":     at(value32("general.type", 0, 10), `key "general.type"`, "its type is 10, not 8"),
		"alignment: 64 bits":        at(value32("general.alignment", 0, 10), `key "general.alignment"`, "its type is 10, not 4"),
		"alignment: signed":         at(value32("general.alignment", 0, 5), `key "general.alignment"`, "its type is 5, not 4"),
		"alignment: a string":       at(value32("general.alignment", 0, 8), `key "general.alignment"`, "its type is 8, not 4"),
		"alignment: 0":              at(value32("general.alignment", 4, 0), `key "general.alignment"`, "an alignment of 0"),
		"alignment: 1":              at(value32("general.alignment", 4, 1), `key "general.alignment"`, "an alignment of 1"),
		"alignment: 48":             at(value32("general.alignment", 4, 48), `key "general.alignment"`, "an alignment of 48"),
		"alignment: 2^31":           at(value32("general.alignment", 4, 1<<31), `key "general.alignment"`, "an alignment of 2147483648"),
		"quantisation: a float":     at(value32("general.file_type", 0, 6), `key "general.file_type"`, "not an integer"),
		"quantisation: a string":    at(value32("general.file_type", 0, 8), `key "general.file_type"`, "not an integer"),
		"parts: number 2 of 1":      at(func(x *broken) { x.put32(x.after("split.no")+4, 1); x.at -= 4 }, `key "split.no"`, "number 2 of 1"),
		"parts: number 4 of 3":      {file: both(set("split.no", uint32(3)), set("split.count", uint32(3))), part: `key "split.no"`, problem: "number 4 of 3"},
		"parts: 5000":               at(value32("split.count", 4, 5000), `key "split.count"`, "in 5000 files"),
		"parts: a float":            at(value32("split.count", 0, 6), `key "split.count"`, "not an integer"),
		"string: beyond the file":   at(func(x *broken) { x.put64(x.after("x.text")+4, 1<<20); x.at += 8 }, `key "x.text"`, "1048576 bytes should follow"),
		"string: 2^40":              at(value64("x.text", 4, 1<<40), `key "x.text"`, "a string of 1099511627776 bytes"),
		"string: 2^63":              at(value64("x.text", 4, 1<<63), `key "x.text"`, "a string of"),
		"string: all bits":          at(value64("x.text", 4, 1<<64-1), `key "x.text"`, "a string of"),
		"array: of arrays":          at(value32(tokens, 4, 9), `key "tokenizer.ggml.tokens"`, "array of arrays"),
		"array: of an unknown type": at(value32(types, 4, 77), `key "tokenizer.ggml.token_type"`, "77 is the number of no type"),
		"array: 2^40 values":        at(value64(types, 8, 1<<40), `key "tokenizer.ggml.token_type"`, "an array of 1099511627776 values"),
		"array: all bits":           at(value64(types, 8, 1<<64-1), `key "tokenizer.ggml.token_type"`, "an array of"),
		"array: beyond the file":    at(func(x *broken) { x.put64(x.after(types)+8, 1<<20); x.at += 8 }, `key "tokenizer.ggml.token_type"`, "4194304 bytes should follow"),
		"array: strings beyond":     at(func(x *broken) { x.put64(x.after(tokens)+8, 1<<20); x.at += 8 }, `key "tokenizer.ggml.tokens"`, "8388608 bytes should follow"),
		"array: a string beyond":    at(func(x *broken) { x.put64(x.after(tokens)+16, 1<<16); x.at += 8 }, `key "tokenizer.ggml.tokens"`, "65536 bytes should follow"),
		"array: a string of 2^62":   at(value64(tokens, 16, 1<<62), `key "tokenizer.ggml.tokens"`, "a string of"),
		"array: bools of 3":         at(func(x *broken) { x.put32(x.after(types)+4, 7); x.at += 12 }, `key "tokenizer.ggml.token_type"`, "a bool is the byte 3"),
		"bool: 2":                   at(func(x *broken) { x.put(x.after("x.yes")+4, "\x02") }, `key "x.yes"`, "a bool is the byte 2"),
		"bool: 255":                 at(func(x *broken) { x.put(x.after("x.yes")+4, "\xff") }, `key "x.yes"`, "a bool is the byte 255"),
		"tokens: numbers":           {file: set(tokens, []int32{1, 2, 3}), part: `key "tokenizer.ggml.tokens"`, problem: "not an array of strings"},
		"tokens: one string":        {file: set(tokens, "abc"), part: `key "tokenizer.ggml.tokens"`, problem: "not an array of strings"},
		"scores: fewer than tokens": {file: set("tokenizer.ggml.scores", []float32{1}), part: `key "tokenizer.ggml.scores"`, problem: "1 values for 3 tokens"},
		"scores: strings":           {file: set("tokenizer.ggml.scores", []string{"1", "2", "3"}), part: `key "tokenizer.ggml.scores"`, problem: "values of 32 bits"},
		"scores: a number":          {file: set("tokenizer.ggml.scores", uint32(3)), part: `key "tokenizer.ggml.scores"`, problem: "values of 32 bits"},
		"types: fewer than tokens":  {file: set(types, []int32{}), part: `key "tokenizer.ggml.token_type"`, problem: "0 values for 3 tokens"},
		"types: strings":            {file: set(types, []string{"a", "b", "c"}), part: `key "tokenizer.ggml.token_type"`, problem: "values of 32 bits"},
		"merges: numbers":           {file: set("tokenizer.ggml.merges", []int32{1}), part: `key "tokenizer.ggml.merges"`, problem: "not an array of strings"},
		"name: none":                at(func(x *broken) { x.put64(x.name(block), 0) }, "tensor number 2", "has no name"),
		"name: 64 bytes":            {file: func(f *fixture.File) { f.Tensors[1].Name = strings.Repeat("n", 64) }, part: "tensor number 2", problem: "a string of 64 bytes, more than 63"},
		"name: 2^62 bytes":          at(func(x *broken) { x.put64(x.name(block), 1<<62) }, "tensor number 2", "a string of"),
		"name: a line break":        at(func(x *broken) { x.put(x.name(block)+8, "b\n"); x.at -= 8 }, "tensor", "characters that no name has"),
		"name: twice":               at(func(x *broken) { x.put(x.name(block)+8, embed); x.at -= 8 }, `tensor "token_embd.weight"`, "twice"),
		"dimensions: 5":             at(value32(block, 0, 5), `tensor "blk.0.norm.weight"`, "5 dimensions, more than 4"),
		"dimensions: all bits":      at(value32(block, 0, 1<<32-1), `tensor "blk.0.norm.weight"`, "4294967295 dimensions"),
		"dimension: 0":              at(value64(embed, 12, 0), `tensor "token_embd.weight"`, "dimension 2 has the length 0"),
		"dimension: negative":       at(value64(embed, 4, 1<<63), `tensor "token_embd.weight"`, "dimension 1 has the length -9223372036854775808"),
		"dimension: -1":             at(value64(embed, 12, 1<<64-1), `tensor "token_embd.weight"`, "dimension 2 has the length -1"),
		"elements: too many": at(func(x *broken) {
			x.put64(x.after(embed)+4, 1<<40)
			x.put64(x.after(embed)+12, 1<<40)
			x.at += 8
		}, `tensor "token_embd.weight"`, "more elements than can be counted"),
		"elements: back to few": at(func(x *broken) {
			x.put64(x.after(embed)+4, 1<<32+1)
			x.put64(x.after(embed)+12, 1<<32)
			x.at += 8
		}, `tensor "token_embd.weight"`, "more elements than can be counted"),
		"bytes: too many":          at(func(x *broken) { x.put64(x.after(block)+4, 1<<61); x.at += 8 }, `tensor "blk.0.norm.weight"`, "more bytes than can be counted"),
		"tensor's type: of 2023":   at(value32(embed, 20, 4), `tensor "token_embd.weight"`, "its type 4 was removed"),
		"tensor's type: of 2024":   at(value32(embed, 20, 31), `tensor "token_embd.weight"`, "its type 31 was removed"),
		"tensor's type: 2^20":      at(value32(embed, 20, 1<<20), `tensor "token_embd.weight"`, "1048576 is the number of no type"),
		"tensor's type: all bits":  at(value32(embed, 20, 1<<32-1), `tensor "token_embd.weight"`, "4294967295 is the number of no type"),
		"row: less than a block":   at(func(x *broken) { x.put64(x.after(output)+4, 31); x.at += 16 }, `tensor "output.weight"`, "a row has 31 elements, not a multiple of the 32"),
		"row: of another type":     at(func(x *broken) { x.put32(x.after(embed)+20, 12) }, `tensor "token_embd.weight"`, "not a multiple of the 256"),
		"data: between boundaries": at(value64(output, 24, 520), `tensor "output.weight"`, "at 520, which is not a multiple"),
		"data: at 2^63":            at(value64(output, 24, 1<<63), `tensor "output.weight"`, "beyond any file"),
		"data: at the end of it all": at(value64(output, 24, 1<<64-32), `tensor "output.weight"`,
			"beyond any file"),
		"data: of another tensor":  at(inEntry(block, 16, 0), `tensor`, "inside that of"),
		"data: inside another's":   at(inEntry(block, 16, 256), `tensor "blk.0.norm.weight"`, "begins at 256, inside that of \"token_embd.weight\", which goes to 384"),
		"data: beyond the file":    at(inEntry(output, 24, 1<<20), `tensor "output.weight"`, "the file is cut"),
		"data: more than there is": at(func(x *broken) { x.put64(x.after(output)+12, 3000); x.at = x.name(output) }, `tensor "output.weight"`, "the file is cut"),
		"file: cut in its data":    at(func(x *broken) { x.at = x.name(output); x.b = x.b[:len(x.b)-11] }, `tensor "output.weight"`, "the file is cut"),
		"file: cut before its data": at(func(x *broken) { x.at = x.name(embed); x.b = x.b[:len(x.b)-576] },
			`tensor "token_embd.weight"`, "the file is cut"),
		"file: cut in a tensor's entry": at(func(x *broken) { x.b = x.b[:x.after(output)+24]; x.at = len(x.b) }, `tensor "output.weight"`, "the file has 0 more"),
		"file: cut in a key":            at(func(x *broken) { x.b = x.b[:x.after("x.text")]; x.put64(atTensors, 0); x.at = len(x.b) }, `key "x.text"`, "the file has 0 more"),
	}
	return all
}

func both(a, b func(*fixture.File)) func(*fixture.File) {
	return func(f *fixture.File) { a(f); b(f) }
}

// inEntry changes where a tensor's data is, which is reported at the tensor's entry.
func inEntry(name string, skip int, to uint64) func(*broken) {
	return func(x *broken) { x.put64(x.after(name)+skip, to); x.at = x.name(name) }
}

func TestBrokenHeaders(t *testing.T) {
	t.Parallel()
	all := brokenHeaders()
	if len(all) < 60 {
		t.Errorf("only %d headers", len(all))
	}
	for name, c := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := &broken{b: written(t, c.file), at: -1}
			if c.bytes != nil {
				c.bytes(x)
			}
			_, err := Examine(bytes.NewReader(x.b), int64(len(x.b)))
			var e *HeaderError
			if !errors.As(err, &e) {
				t.Fatalf("not refused: %v", err)
			}
			if !strings.HasPrefix(e.Part, c.part) || !strings.Contains(err.Error(), c.problem) {
				t.Errorf("it says %q, want %q and %q", err, c.part, c.problem)
			}
			if x.at >= 0 && e.At != int64(x.at) {
				t.Errorf("it says byte %d, want %d: %v", e.At, x.at, err)
			}
			if !strings.Contains(err.Error(), fmt.Sprintf("at byte %d", e.At)) {
				t.Errorf("it does not say where: %v", err)
			}
		})
	}
}

// What is no GGUF at all is called what it is.
func TestExamineOther(t *testing.T) {
	t.Parallel()
	for want, b := range map[string]string{
		"empty": "", "only 4 bytes": "GGUF", "HTML page": "<!DOCTYPE html><html>", "not a GGUF file": "gguf\x03\x00\x00\x00 and more",
		"version 0": "GGUF\x00\x00\x00\x00", "version 1": "GGUF\x01\x00\x00\x00", "version 4": "GGUF\x04\x00\x00\x00", "big-endian": "GGUF\x00\x00\x00\x03",
		"zip archive": "PK\x03\x04 and more", "safetensors": "\x10\x00\x00\x00\x00\x00\x00\x00{\"a\"",
	} {
		_, err := Examine(strings.NewReader(b), int64(len(b)))
		if !errors.Is(err, ErrNotModel) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", b, err)
		}
	}
}

// A file that ends anywhere before its last tensor's data does is cut.
func TestEveryCutIsSeen(t *testing.T) {
	t.Parallel()
	b := written(t, nil)
	for n := HeadSize; n < len(b)-10; n++ {
		if _, err := Examine(bytes.NewReader(b[:n]), int64(n)); !errors.Is(err, ErrCut) {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
	}
	// The last bytes only fill the file up to a boundary.
	if _, err := Examine(bytes.NewReader(b[:len(b)-10]), int64(len(b)-10)); err != nil {
		t.Error(err)
	}
}

// Every single bit of a header is changed once. What passes all the same is a file in
// which no data lies outside of it.
func TestEveryBit(t *testing.T) {
	t.Parallel()
	whole := written(t, nil)
	for i := range (len(whole) - 576) * 8 {
		b := bytes.Clone(whole)
		b[i/8] ^= 1 << (i % 8)
		if f, err := Examine(bytes.NewReader(b), int64(len(b))); err == nil && f.End > int64(len(b)) {
			t.Fatalf("bit %d: %+v", i, f)
		}
	}
}

// FuzzCheck holds that no header ends the process, and that one that passes has all of
// its data in the file.
func FuzzCheck(f *testing.F) {
	f.Add(written(f, nil))
	for _, c := range brokenHeaders() {
		x := &broken{b: written(f, c.file)}
		if c.bytes != nil {
			c.bytes(x)
		}
		f.Add(x.b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		facts, err := Examine(bytes.NewReader(b), int64(len(b)))
		var e *HeaderError
		switch {
		case err == nil && (facts.End > int64(len(b)) || facts.Data > facts.End || facts.Data < 0):
			t.Fatalf("%+v of %d bytes", facts, len(b))
		case err == nil:
			if _, err := Examine(bytes.NewReader(b), -1); err != nil {
				t.Fatalf("without its size: %v", err)
			}
		case errors.As(err, &e) && (e.At < 0 || e.At > int64(len(b)) || e.Part == "" || e.Problem == ""):
			t.Fatalf("%+v of %d bytes", e, len(b))
		}
	})
}
