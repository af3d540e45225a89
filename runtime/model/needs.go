package model

import (
	"context"
	"errors"
	"fmt"
	"strings"

	ggufparser "github.com/gpustack/gguf-parser-go"
)

// Need is about what it takes to serve a model, as llama.cpp would.
type Need struct {
	// RAM and VRAM are in bytes. Of RAM a part can be the file itself, mapped, which
	// the kernel may drop and read again.
	RAM, VRAM int64
}

// Estimate reads a verified model's header and estimates what serving it takes: with
// a context in tokens, 0 for the model's own, on a GPU or on the CPU alone.
func Estimate(path string, tokens int, onGPU bool) (n Need, err error) {
	// The library trusts a header; ours was made by somebody.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("what %s takes cannot be estimated: %v", path, r)
		}
	}()
	file, err := ggufparser.ParseGGUFFile(path, ggufparser.SkipLargeMetadata(), ggufparser.UseMMap())
	if err != nil {
		return Need{}, fmt.Errorf("what %s takes cannot be estimated: %w", path, err)
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
	return n, nil
}

// errNoSmaller is a repository without a model that would fit.
var errNoSmaller = errors.New("the repository has no smaller model that would fit")

// Smaller is the largest model of a stored one's repository that is smaller than it
// by at least less bytes, as a ref's quantisation or file.
func (f *Fetcher) Smaller(ctx context.Context, l Local, less int64) (string, error) {
	if l.Ref.Kind != Hub {
		return "", errNoSmaller
	}
	ref, err := repoRef(l.Ref.Repo, l.Ref.Revision)
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
		if size <= l.Size-less && size > most {
			best, most = file.Path, size
		}
	}
	if best == "" {
		return "", errNoSmaller
	}
	if q := quantOf(best); q != "" && strings.Count(l.Ref.Repo, "/") == 1 {
		return "hf:" + l.Ref.Repo + ":" + q, nil
	}
	return "hf:" + l.Ref.Repo + "/" + best, nil
}
