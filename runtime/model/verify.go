package model

import (
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
)

// Verify reads all of a stored model's files again and compares them with the
// hashes that they are kept under. What it returns names what is wrong, nothing
// where all is well.
func (f *Fetcher) Verify(ctx context.Context, m Stored) ([]string, error) {
	var wrong []string
	for _, name := range m.names {
		blob, size, ok := m.folder.stored(m.commit, name)
		if !ok {
			wrong = append(wrong, name+" is not there")
			continue
		}
		got, err := f.blobHash(ctx, m.folder.blob(blob), size, blob)
		if err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			wrong = append(wrong, fmt.Sprintf("%s cannot be read: %v", name, err))
			continue
		}
		if got != blob && (hex64.MatchString(blob) || hex40.MatchString(blob)) {
			wrong = append(wrong, fmt.Sprintf("%s hashes to %s and should to %s", name, got, blob))
		}
	}
	return wrong, nil
}

// blobHash is a blob's hash of the kind that it is named by.
func (f *Fetcher) blobHash(ctx context.Context, p string, size int64, name string) (string, error) {
	if !hex40.MatchString(name) {
		return f.hash(ctx, p, size)
	}
	file, err := os.Open(p)
	if err != nil {
		return "", err
	}
	defer file.Close()
	w := &partial{file: file, gitSize: size}
	w.begin()
	task := f.begin("verify "+filepath.Base(p), size)
	err = w.rehash(ctx, task.Set)
	task.End(err)
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(w.git.Sum(nil)), nil
}

// Refetch fetches a stored model anew by a ref that pins it. What is there goes first,
// or it would be found; what its revisions are called and who uses it stays.
func (f *Fetcher) Refetch(ctx context.Context, m Stored, ref Ref) error {
	d := m.folder
	names, uses := d.revisions(m.commit), d.uses()
	if _, err := f.Store.Remove(m); err != nil {
		return fault.New(fault.Model, m.Ref+" cannot be removed", err, "check who owns "+f.Store.Dir())
	}
	if _, err := f.Fetch(ctx, ref); err != nil {
		return err
	}
	for _, name := range names {
		if err := d.setRef(name, m.commit); err != nil {
			return fault.New(fault.Model, m.Ref+": what "+name+" means cannot be written down", err, "check who owns "+f.Store.Dir())
		}
	}
	for _, name := range m.names {
		for _, by := range uses[m.commit+"/"+name].By {
			d.note(m.commit, name, uses[m.commit+"/"+name].Ref, by, time.Now())
		}
	}
	return nil
}

// revisions are the names that mean a commit.
func (d folder) revisions(commit string) []string {
	root := d.path("refs")
	var out []string
	_ = filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil //nolint:nilerr // what cannot be read is not there
		}
		if name, err := filepath.Rel(root, p); err == nil && d.commitOf(filepath.ToSlash(name)) == commit {
			out = append(out, filepath.ToSlash(name))
		}
		return nil
	})
	return out
}
