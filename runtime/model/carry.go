package model

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

// Carry gives the files of a model that a fetch found, the first one first. A file of the
// user's own is a fault.Usage: it has no place in a store.
func (f *Fetcher) Carry(ctx context.Context, l Local) ([]store.Carried, error) {
	revision := l.Ref.Revision
	switch l.Ref.Kind {
	case ref.File:
		return nil, fault.New(fault.Usage, l.Ref.Raw+" cannot be carried to another machine's store", errors.New("it is a file of your own"), "copy the file beside the bundle, and name it there")
	case ref.HTTP:
		revision = webRevision
	case ref.Hub, ref.Registry:
	}
	dir := path.Dir(l.Rel)
	var out []store.Carried
	for _, name := range gguf.Parts(l.Path) {
		c := store.Carried{
			Path: filepath.Join(l.Dir, filepath.FromSlash(dir), name), File: path.Join(filepath.Base(l.Dir), dir, name),
			Revision: revision, Ref: l.Ref.Raw,
		}
		info, err := os.Stat(c.Path)
		if err != nil {
			return nil, err
		}
		c.Size = info.Size()
		// A file's own name in the store need not be its hash.
		if c.SHA256, err = f.hash(ctx, c.Path, "", c.Size); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}
