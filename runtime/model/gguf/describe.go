package gguf

import (
	"fmt"
	"io"
	"os"
	"strings"

	ggufparser "github.com/gpustack/gguf-parser-go"

	"github.com/llorch/llorch-bk/images/fault"
)

// Info is what a GGUF says about itself.
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

// Describe reads a GGUF's metadata. It stops as soon as it knows all of Info, and does
// not read the tensors.
//
// We walk the header ourselves because the parser library panics on a wrong header and
// allocates what it declares. The names of the quantisations are the library's.
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

func describe(in io.Reader) (Info, error) {
	r := newReader(in, -1)
	_, pairs, err := r.begin()
	if err != nil {
		return Info{}, err
	}
	var info Info
	contexts := map[string]uint64{}
	for i := range pairs {
		r.part = numbered("key", i)
		key, kind := r.str(maxKey), r.kind()
		switch {
		case key == "general.architecture" && kind == typeString:
			info.Architecture = fault.Printable(r.str(maxText))
		case key == "general.name" && kind == typeString:
			info.Name = fault.Printable(r.str(maxText))
		case key == "general.file_type" && kind == typeUint32:
			info.Quant = quant(r.uint(4))
		case strings.HasSuffix(key, ".context_length") && (kind == typeUint32 || kind == typeUint64):
			contexts[key] = r.uint(scalarSize[kind])
		default:
			r.value(kind)
		}
		if r.err != nil {
			return Info{}, r.err
		}
		info.ContextLength = contexts[info.Architecture+".context_length"]
		if info.Architecture != "" && info.Name != "" && info.Quant != "" && info.ContextLength != 0 {
			break
		}
	}
	return info, r.err
}

// quant names a general.file_type as llama.cpp does. The library spells a few of them
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
