package gguf

import (
	"fmt"
	"os"
	"path/filepath"

	ggufparser "github.com/gpustack/gguf-parser-go"
)

// Need is an estimate of the memory that llama.cpp takes to serve a model.
type Need struct {
	// RAM and VRAM are in bytes. A part of RAM can be the mapped file itself, which the
	// kernel may drop and read again.
	RAM, VRAM int64
}

// Header is what can be read of a model: its first file, or all of its files.
type Header struct {
	// Path is the model's first file. It may be a download that has only begun.
	Path string
	// Alone says that the model's other files are not beside it. They take Rest bytes.
	Alone bool
	Rest  int64
}

// Need estimates the memory that serving the model takes: with a context in tokens, 0
// for the model's own, on a GPU or on the CPU alone. A header that the estimate does not
// understand is an error, though a server may understand it.
func (h Header) Need(tokens int, onGPU bool) (n Need, err error) {
	// The library trusts a header, and this one comes from outside.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the header breaks the estimate: %v", r)
		}
	}()
	if err := h.check(); err != nil {
		return Need{}, err
	}
	file, err := ggufparser.ParseGGUFFile(h.Path, ggufparser.SkipLargeMetadata(), ggufparser.UseMMap())
	if err != nil {
		return Need{}, err
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
	// The files that are not here hold nothing but weights.
	if onGPU {
		n.VRAM += h.Rest
	} else {
		n.RAM += h.Rest
	}
	return n, nil
}

// check walks the headers that the library is going to read, because the library
// allocates whatever they declare.
func (h Header) check() error {
	files := []string{filepath.Base(h.Path)}
	if !h.Alone {
		files = Parts(h.Path)
	}
	for _, file := range files {
		if err := checkFile(filepath.Join(filepath.Dir(h.Path), file)); err != nil {
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
	return Walk(f)
}
