package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// everybody is what a file's mode must allow for a container's user to read it.
const everybody fs.FileMode = 0o444

// adopt takes a blob out of the cache that Hugging Face's tools and llama.cpp
// share, where they have fetched it already. It is read and verified first; what
// is there stays theirs and is not changed. False says that there is none to take.
func (f *Fetcher) adopt(ctx context.Context, d folder, src source) (bool, error) {
	cache := f.Environment.HubCache
	if cache == "" || src.want.none() || src.byContent || cache == f.Store.dir {
		return false, nil
	}
	theirs := filepath.Join(cache, d.name, "blobs", src.blob)
	info, err := os.Stat(theirs)
	if err != nil || !info.Mode().IsRegular() || info.Size() != src.size {
		return false, nil //nolint:nilerr // what is not there in full is fetched
	}
	got, err := f.blobHash(ctx, theirs, info.Size(), src.blob)
	if err != nil {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		return false, nil
	}
	task := f.begin("take it from "+cache, 0)
	want := src.want.sha256
	if src.want.git != "" && src.want.sha256 == "" {
		want = src.want.git
	}
	if got != want {
		task.Note(fmt.Sprintf("what is there hashes to %s and should to %s: it is fetched anew", got, want))
		task.End(nil)
		return false, nil
	}
	how, err := f.place(theirs, info, d, src)
	if err == nil {
		task.Note(how)
	}
	task.End(err)
	return err == nil, err
}

// place makes a blob of another's file: a clone, which shares its space and no
// more; else a second name of it; else a copy. It says which.
func (f *Fetcher) place(theirs string, info fs.FileInfo, d folder, src source) (string, error) {
	final := d.blob(src.blob)
	tmp := final + ".adopted"
	how := ""
	err := d.store.within(d.path("blobs"), func() error {
		_ = os.Remove(tmp)
		if clone(theirs, tmp) == nil {
			how = "cloned, so it takes no more space"
			return os.Chmod(tmp, fileMode)
		}
		// A name of a file that is not everybody's to read would need its mode changed,
		// and the file is not ours.
		if info.Mode()&everybody == everybody && os.Link(theirs, tmp) == nil {
			how = "linked, so it takes no more space"
			return nil
		}
		if err := f.room(d.store.dir, src.size); err != nil {
			return err
		}
		how = "copied"
		return copyFile(theirs, tmp)
	})
	if err == nil {
		err = os.Rename(tmp, final)
	}
	if err != nil {
		_ = os.Remove(tmp)
	}
	return how, err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(fileMode), out.Sync(), out.Close())
}
