package gguf

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	fixture "github.com/llorch/llorch-bk/fixtures/gguf"
)

// aFile has a value of every kind that the checks look at.
func aFile() fixture.File {
	return fixture.File{
		Metadata: []fixture.Entry{
			{Key: "general.architecture", Value: "llama"},
			{Key: "general.type", Value: "model"},
			{Key: "general.file_type", Value: uint32(2)},
			{Key: "general.alignment", Value: uint32(32)},
			{Key: "split.no", Value: uint32(0)},
			{Key: "split.count", Value: uint32(1)},
			{Key: "tokenizer.ggml.tokens", Value: []string{"a", "b", "c"}},
			{Key: "tokenizer.ggml.scores", Value: []float32{1, 2, 3}},
			{Key: "tokenizer.ggml.token_type", Value: []int32{3, 3, 3}},
			{Key: "tokenizer.ggml.merges", Value: []string{"a b"}},
			{Key: "x.yes", Value: true},
			{Key: "x.big", Value: uint64(1) << 40},
			{Key: "x.text", Value: "some text"},
		},
		Tensors: []fixture.Tensor{
			{Name: "token_embd.weight", Dims: []uint64{32, 3}, Data: make([]float32, 96)},
			{Name: "blk.0.norm.weight", Dims: []uint64{32}, Data: make([]float32, 32)},
			{Name: "output.weight", Dims: []uint64{32, 3}, Q4: make([]byte, 54)},
		},
	}
}

// written is a file after a change.
func written(t testing.TB, change func(*fixture.File)) []byte {
	t.Helper()
	f := aFile()
	if change != nil {
		change(&f)
	}
	var b bytes.Buffer
	if err := fixture.Write(&b, f); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// set gives a key another value.
func set(key string, value any) func(*fixture.File) {
	return func(f *fixture.File) {
		for i := range f.Metadata {
			if f.Metadata[i].Key == key {
				f.Metadata[i].Value = value
				return
			}
		}
		f.Metadata = append(f.Metadata, fixture.Entry{Key: key, Value: value})
	}
}

// broken is a file whose bytes are changed, and where the last change was.
type broken struct {
	b  []byte
	at int
}

// name is where the length of a key's or a tensor's name is.
func (x *broken) name(name string) int {
	i := strings.Index(string(x.b), string(binary.LittleEndian.AppendUint64(nil, uint64(len(name))))+name)
	if i < 0 {
		panic("there is no " + name)
	}
	return i
}

// after is where the value of a key begins with its type, or the entry of a tensor after
// its name.
func (x *broken) after(name string) int { return x.name(name) + 8 + len(name) }

func (x *broken) put32(at int, v uint32) { binary.LittleEndian.PutUint32(x.b[at:], v); x.at = at }
func (x *broken) put64(at int, v uint64) { binary.LittleEndian.PutUint64(x.b[at:], v); x.at = at }
func (x *broken) put(at int, s string)   { copy(x.b[at:], s); x.at = at }

func TestExamine(t *testing.T) {
	t.Parallel()
	b := written(t, nil)
	f, err := Examine(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	f.Data, f.End = f.Data-int64(len(b)), f.End-int64(len(b))
	want := Facts{
		Architecture: "llama", Type: "model", Quant: "Q4_0", Split: Split{0, 1}, Tensors: 3,
		Data: -(384 + 128 + 64), End: -10, firstBlock: true,
	}
	if f != want {
		t.Errorf("%+v, want %+v", f, want)
	}
	// Of the first bytes of a file of unknown size, the header is all that is looked at.
	head := b[:len(b)-400]
	if got, err := Examine(bytes.NewReader(head), -1); err != nil || got.Tensors != 3 {
		t.Errorf("of the header alone: %+v, %v", got, err)
	}
	tiny := tinyModel(t)
	if f, err := Examine(bytes.NewReader(tiny), int64(len(tiny))); err != nil || f.Role() != Model || !f.IsWhole() {
		t.Errorf("of a model: %+v, %v", f, err)
	}
	minimal := fixture.Minimal()
	if f, err := Examine(bytes.NewReader(minimal), int64(len(minimal))); err != nil || f.End != int64(len(minimal)) {
		t.Errorf("without tensors: %+v, %v", f, err)
	}
}

// Types of releases to come and of forks have numbers that are not known here, and sizes
// that nobody can tell.
func TestExamineForeignType(t *testing.T) {
	t.Parallel()
	x := &broken{b: written(t, nil)}
	x.put32(x.after("output.weight")+4+16, 137)
	if _, err := Examine(bytes.NewReader(x.b), int64(len(x.b))); err != nil {
		t.Error(err)
	}
}

func TestRole(t *testing.T) {
	t.Parallel()
	only := func(name string) func(*fixture.File) {
		return func(f *fixture.File) {
			f.Tensors = []fixture.Tensor{{Name: name, Dims: []uint64{1}, Data: make([]float32, 1)}}
		}
	}
	for name, c := range map[string]struct {
		change func(*fixture.File)
		want   Role
	}{
		"a model":                          {nil, Model},
		"no type":                          {set("general.type", ""), Model},
		"an importance matrix":             {set("general.type", "imatrix"), Imatrix},
		"a LoRA":                           {set("general.type", "adapter"), Adapter},
		"a projector":                      {set("general.architecture", "clip"), Projector},
		"a projector by its type":          {set("general.type", "mmproj"), Projector},
		"EAGLE-3":                          {set("general.architecture", "eagle3"), Draft},
		"Gemma's assistant":                {set("general.architecture", "gemma4-assistant"), Draft},
		"draft heads alone":                {only("blk.48.nextn.eh_proj.weight"), Draft},
		"a block that is not the first":    {only("blk.48.attn_q.weight"), Model},
		"draft heads in one of many parts": {func(f *fixture.File) { only("blk.48.nextn.eh_proj.weight")(f); set("split.count", uint32(3))(f) }, Model},
		"a model with its draft heads": {func(f *fixture.File) {
			f.Tensors = append(f.Tensors, fixture.Tensor{Name: "blk.48.nextn.eh_proj.weight", Dims: []uint64{1}, Data: make([]float32, 1)})
		}, Model},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := written(t, c.change)
			f, err := Examine(bytes.NewReader(b), int64(len(b)))
			if err != nil || f.Role() != c.want {
				t.Errorf("%q, %v; want %q", f.Role(), err, c.want)
			}
		})
	}
}
