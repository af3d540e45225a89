package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

// Need is an estimate of the memory that serving a model takes.
type Need = gguf.Need

// Header is the beginning of a model, from which the memory that it needs is estimated
// before or after the rest of it is here.
type Header struct {
	Ref Ref
	// Size of the whole model in bytes.
	Size int64

	file gguf.Header
}

// Header is the header of a model that is here.
func (l Local) Header() Header {
	return Header{Ref: l.Ref, Size: l.Size, file: gguf.Header{Path: l.Path}}
}

// Need estimates the memory that serving the model takes: with a context in tokens, 0
// for the model's own, on a GPU or on the CPU alone. A header that the estimate does not
// understand is an error, though a server may understand it.
func (h Header) Need(tokens int, onGPU bool) (Need, error) {
	n, err := h.file.Need(tokens, onGPU)
	if err != nil {
		return Need{}, fmt.Errorf("the memory that %s needs cannot be estimated: %w", h.Ref.Raw, err)
	}
	return n, nil
}

// early calls Early once, as soon as the first file of a model has its whole header. Here
// is how many bytes of it are there, without a gap. It returns whether to look again when
// there are more.
func (f *Fetcher) early(ctx context.Context, src source, path string, here int64) (again bool) {
	in, err := os.Open(path)
	if err != nil {
		return false
	}
	defer in.Close()
	switch err := gguf.Walk(io.LimitReader(in, here)); {
	case err == nil:
		h := *src.model
		h.file = gguf.Header{Path: path, Alone: true, Rest: h.Size - src.Size}
		f.Early(ctx, h)
		return false
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return here < src.Size && here < gguf.MaxHeader
	}
	return false
}
