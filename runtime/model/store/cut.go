package store

import (
	"errors"
	"io/fs"

	"github.com/llorch/llorch-bk/runtime/model/disk"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

// looked is a file whose header was read.
type looked struct {
	path  string
	facts disk.Facts
}

// isCut is an error where a GGUF ends before its header says that it does. The header of
// a file is read once as long as the file stays the same.
func (s *Store) isCut(path string, info fs.FileInfo) error {
	key := looked{path, disk.FactsOf(info)}
	if known, ok := s.headers.Load(key); ok {
		err, _ := known.(error)
		return err
	}
	err := cut(path)
	s.headers.Store(key, err)
	return err
}

// cut reads a file's header. What is no GGUF is not cut, and neither is what cannot be
// read: whoever reads it next says why.
func cut(path string) error {
	if _, err := gguf.ExamineFile(path); errors.Is(err, gguf.ErrCut) {
		return err
	}
	return nil
}
