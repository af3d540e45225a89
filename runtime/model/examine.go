package model

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// Examine reads the headers of a model's files and checks all that a server relies on. It
// is to be called before a server sees the model: a GGUF comes from outside, and servers
// have had faults of memory in reading one. The error is a Model fault.
func (l Local) Examine() error {
	names := gguf.Parts(l.Path)
	for i, name := range names {
		err := examinePart(filepath.Join(filepath.Dir(l.Path), name), i, len(names))
		if err == nil {
			continue
		}
		if len(names) > 1 {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return fault.New(fault.Model, "model "+l.Ref.Raw+" cannot be served", err, l.advice(err))
	}
	return nil
}

// roleError is a GGUF that is no model of its own.
type roleError struct{ role gguf.Role }

func (e *roleError) Error() string { return "it is " + string(e.role) }

// errPart is a file of a split model whose name or place is another than its header says.
var errPart = errors.New("llama.cpp finds the parts of a model by their names")

func examinePart(path string, i, n int) error {
	facts, err := gguf.ExamineFile(path)
	if err != nil {
		return err
	}
	if role := facts.Role(); role != gguf.Model {
		return &roleError{role}
	}
	if s := facts.Split; max(s.Count, 1) != n || s.Index != i {
		return fmt.Errorf("its header says that it is number %d of %d files, and its name that it is number %d of %d: %w", s.Index+1, max(s.Count, 1), i+1, n, errPart)
	}
	return nil
}

// advice says what to do about a model that must not be served.
func (l Local) advice(err error) string {
	var role *roleError
	var header *gguf.HeaderError
	switch {
	case errors.As(err, &role):
		return "name the model that it belongs to"
	case errors.Is(err, errPart):
		return "give all files of the model the names that llama-gguf-split gave them, or merge them with it"
	case errors.Is(err, gguf.ErrCut) && l.Ref.Kind == ref.File:
		return "copy or download the file again: it is shorter than it should be"
	case errors.Is(err, gguf.ErrCut):
		return "see what is wrong with `llorch-bk model verify`; a file that is cut where it comes from has to be mended there"
	case errors.As(err, &header):
		return "get the file anew from where it was made, or convert the model again; no server should load this one"
	case errors.Is(err, gguf.ErrNotModel):
		return notModelAdvice(l.Ref)
	}
	return "make the file readable for the user that runs this command"
}
