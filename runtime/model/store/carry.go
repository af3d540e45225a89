package store

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/disk"
	"github.com/llorch/llorch-bk/runtime/model/ref"
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

// Accept takes a file that was carried from another machine into the store. Its bytes,
// in c.Path, must have been verified against c.SHA256. The file itself is not changed;
// on a file system that can, the store shares its space.
func (s *Store) Accept(ctx context.Context, c Carried) error {
	parts := strings.SplitN(c.File, "/", 4)
	if len(parts) != 4 || parts[1] != "snapshots" || !ref.IsName(parts[0]) || !ref.IsName(parts[2]) || !ref.CleanRelative(parts[3]) || !digest.IsSHA256(c.SHA256) ||
		c.Revision != "" && (!ref.CleanRelative(c.Revision) || strings.HasSuffix(c.Revision, ".lock")) {
		return fmt.Errorf("%q is no place of a model's file", c.File)
	}
	d, commit, file := Folder{s, parts[0]}, parts[2], parts[3]
	release, err := d.Lock(ctx, c.SHA256, func() {})
	if err != nil {
		return err
	}
	defer release()
	if !d.Has(c.SHA256, c.Size) {
		err := s.within(d.path("blobs"), func() error { return place(c.Path, d.Blob(c.SHA256)) })
		if err == nil {
			err = d.Own(c.SHA256)
		}
		if err != nil {
			return err
		}
	}
	if err := d.Link(commit, file, c.SHA256); err != nil {
		return err
	}
	if c.Revision != "" {
		if err := d.SetRevision(c.Revision, commit); err != nil {
			return err
		}
	}
	d.Use(commit, file, c.Ref, "", time.Now())
	return nil
}

// place gives a file's bytes a name in the store, whole or not at all.
func place(from, to string) error {
	tmp := to + ".carried"
	_ = os.Remove(tmp)
	err := disk.Clone(from, tmp, fileMode)
	if err != nil {
		_ = os.Remove(tmp)
		err = disk.Copy(from, tmp, fileMode)
	}
	if err == nil {
		err = disk.Chmod(tmp, fileMode)
	}
	if err == nil {
		err = os.Rename(tmp, to)
	}
	if err != nil {
		_ = os.Remove(tmp)
	}
	return err
}
