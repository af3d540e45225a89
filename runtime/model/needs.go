package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	ggufparser "github.com/gpustack/gguf-parser-go"
)

// Need is about what it takes to serve a model, as llama.cpp would.
type Need struct {
	// RAM and VRAM are in bytes. Of RAM a part can be the file itself, mapped, which
	// the kernel may drop and read again.
	RAM, VRAM int64
}

// Header is the beginning of a model, which says what serving it takes, before or
// after the rest of it is there.
type Header struct {
	Ref Ref
	// Size of the whole model in bytes.
	Size int64
	// path is the model's first file. Where it is all that can be read, alone is its
	// size; else it is 0, and the others are beside it.
	path  string
	alone int64
}

// Header is that of a model that is here.
func (l Local) Header() Header { return Header{Ref: l.Ref, Size: l.Size, path: l.Path} }

// Need estimates what serving the model takes: with a context in tokens, 0 for the
// model's own, on a GPU or on the CPU alone. A header that the estimate does not
// understand is an error, though a server may understand it.
func (h Header) Need(tokens int, onGPU bool) (n Need, err error) {
	// The library trusts a header; ours was made by somebody.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("what %s takes cannot be estimated: %v", h.Ref.Raw, r)
		}
	}()
	if err := h.check(); err != nil {
		return Need{}, fmt.Errorf("what %s takes cannot be estimated: %w", h.Ref.Raw, err)
	}
	file, err := ggufparser.ParseGGUFFile(h.path, ggufparser.SkipLargeMetadata(), ggufparser.UseMMap())
	if err != nil {
		return Need{}, fmt.Errorf("what %s takes cannot be estimated: %w", h.Ref.Raw, err)
	}
	var layers uint64
	if onGPU {
		layers = 1 << 20 // all of them
	}
	opts := []ggufparser.GGUFRunEstimateOption{ggufparser.WithLLaMACppOffloadLayers(layers)}
	if tokens > 0 {
		opts = append(opts, ggufparser.WithLLaMACppContextSize(int32(min(tokens, 1<<30)))) //nolint:gosec // bounded
	}
	item := file.EstimateLLaMACppRun(opts...).SummarizeItem(false, 0, 0)
	n.RAM = int64(item.RAM.NonUMA) //nolint:gosec // bytes of one machine
	if onGPU {
		for _, v := range item.VRAMs {
			n.VRAM += int64(v.NonUMA) //nolint:gosec // as above
		}
	}
	if h.alone > 0 {
		// The files that are not here hold nothing but weights.
		if rest := h.Size - h.alone; onGPU {
			n.VRAM += rest
		} else {
			n.RAM += rest
		}
	}
	return n, nil
}

// check walks the headers that the library is going to read: it allocates what they
// declare.
func (h Header) check() error {
	files := []string{filepath.Base(h.path)}
	if h.alone == 0 {
		files = shardsOf(files[0])
	}
	for _, file := range files {
		if err := checkFile(filepath.Join(filepath.Dir(h.path), file)); err != nil {
			return err
		}
	}
	return nil
}

func checkFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return walkHeader(f)
}

// firstLook is how much of a model is there before its header is looked at first.
const firstLook = 1 << 20

// early tells of a model's header, once, when so much of the file is there that the
// header is whole; here is what there is of it, without a gap. The file has its final
// size already. It says whether there is anything left to wait for.
func (f *Fetcher) early(ctx context.Context, src source, path string, here int64) (more bool) {
	if f.Early == nil || src.model == nil {
		return false
	}
	in, err := os.Open(path)
	if err != nil {
		return false
	}
	defer in.Close()
	switch err := walkHeader(io.LimitReader(in, here)); {
	case err == nil:
		h := *src.model
		h.path, h.alone = path, src.size
		f.Early(ctx, h)
		return false
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return here < src.size && here < maxHeader
	}
	return false
}

// errNoSmaller is a repository without a model that would fit.
var errNoSmaller = errors.New("the repository has no smaller model that would fit")

// Smaller is the largest model of a model's repository that is smaller than it by at
// least less bytes, as a ref's quantisation or file.
func (f *Fetcher) Smaller(ctx context.Context, h Header, less int64) (string, error) {
	if h.Ref.Kind != Hub {
		return "", errNoSmaller
	}
	ref, err := repoRef(h.Ref.Repo, h.Ref.Revision)
	if err != nil {
		return "", err
	}
	listing, err := f.list(ctx, ref, 0)
	if err != nil {
		return "", err
	}
	sizes := map[string]int64{}
	for _, file := range listing.Files {
		sizes[file.Path] = file.Size
	}
	best, most := "", int64(0)
	for _, file := range listing.Files {
		if !isModel(file.Path) {
			continue
		}
		var size int64
		for _, part := range shardsOf(file.Path) {
			size += sizes[part]
		}
		if size <= h.Size-less && size > most {
			best, most = file.Path, size
		}
	}
	if best == "" {
		return "", errNoSmaller
	}
	if q := quantOf(best); q != "" && strings.Count(h.Ref.Repo, "/") == 1 {
		return "hf:" + h.Ref.Repo + ":" + q, nil
	}
	return "hf:" + h.Ref.Repo + "/" + best, nil
}
