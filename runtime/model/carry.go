package model

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
)

// Carried is a file of a stored model as another machine's store takes it.
type Carried struct {
	// Path is the file on this machine, Size its bytes, and SHA256 their hash in hex.
	Path   string
	Size   int64
	SHA256 string
	// File is the slash-separated path of the file from a store's top.
	File string
	// Revision is what was asked for when File's commit was found, and Ref the whole ref.
	Revision, Ref string
}

// Carry gives the files of a model that a fetch found, the first one first. A file of the
// user's own is a fault.Usage: it has no place in a store.
func (f *Fetcher) Carry(ctx context.Context, l Local) ([]Carried, error) {
	revision := l.Ref.Revision
	switch l.Ref.Kind {
	case File:
		return nil, fault.New(fault.Usage, l.Ref.Raw+" cannot be carried to another machine's store", errors.New("it is a file of your own"), "copy the file beside the bundle, and name it there")
	case HTTP:
		revision = webRevision
	case Hub, Registry:
	}
	dir, file := path.Split(l.Rel)
	var out []Carried
	for _, name := range shardsOf(file) {
		c := Carried{
			Path: filepath.Join(l.Dir, filepath.FromSlash(dir), name), File: path.Join(filepath.Base(l.Dir), dir, name),
			Revision: revision, Ref: l.Ref.Raw,
		}
		info, err := os.Stat(c.Path)
		if err != nil {
			return nil, err
		}
		c.Size = info.Size()
		// A file's own name in the store need not be its hash.
		if c.SHA256, err = f.hash(ctx, c.Path, c.Size); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// Accept takes a file that was carried from another machine into the store. Its bytes,
// in c.Path, must have been verified against c.SHA256. The file itself is not changed;
// on the same disk it gets a second name.
func (s *Store) Accept(ctx context.Context, c Carried) error {
	parts := strings.SplitN(c.File, "/", 4)
	if len(parts) != 4 || parts[1] != "snapshots" || !isName(parts[0]) || !isName(parts[2]) || !cleanRelative(parts[3]) || !hex64.MatchString(c.SHA256) ||
		c.Revision != "" && (!cleanRelative(c.Revision) || strings.HasSuffix(c.Revision, ".lock")) {
		return fmt.Errorf("%q is no place of a model's file", c.File)
	}
	d, commit, file := folder{s, parts[0]}, parts[2], parts[3]
	release, err := s.lock(ctx, d, c.SHA256, func() {})
	if err != nil {
		return err
	}
	defer release()
	if !d.hasBlob(c.SHA256) {
		if err := s.within(d.path("blobs"), func() error { return placeCarried(c.Path, d.blob(c.SHA256)) }); err != nil {
			return err
		}
	}
	if err := d.link(commit, file, c.SHA256); err != nil {
		return err
	}
	if c.Revision != "" {
		if err := d.setRef(c.Revision, commit); err != nil {
			return err
		}
	}
	d.note(commit, file, c.Ref, "", time.Now())
	return nil
}

// placeCarried gives a file its name in the store, whole or not at all.
func placeCarried(from, to string) error {
	tmp := to + ".carried"
	_ = os.Remove(tmp)
	err := clone(from, tmp)
	if err != nil {
		_ = os.Remove(tmp)
		err = copyFile(from, tmp)
	}
	if err == nil {
		err = os.Chmod(tmp, fileMode)
	}
	if err == nil {
		err = os.Rename(tmp, to)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		_ = os.Remove(tmp)
		return err
	}
	return nil
}
