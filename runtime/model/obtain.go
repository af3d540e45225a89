package model

import (
	"cmp"
	"context"
	"path"
	"path/filepath"

	"github.com/llorch/llorch-bk/runtime/model/disk"
	"github.com/llorch/llorch-bk/runtime/model/store"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// source is a remote file whose identity is known, and its place in the store.
type source struct {
	transfer.Source

	// commit is the snapshot that the file belongs to; empty for one that its content's
	// SHA-256 names, because nothing else tells it from another version.
	commit string
	// blob is the name of its content in the store. Where byContent is set, it names only
	// the partial file, and the content's SHA-256 becomes the final name.
	blob      string
	byContent bool
	// model is the header of the model that begins with this file, nil where nobody wants
	// to know it early.
	model *Header
}

// located is one file of a model: local where the store has it, else src.
type located struct {
	ref   Ref
	have  bool
	local Local
	src   source
}

// obtainAll makes sure that the store has all files of a model, the first one first.
func (f *Fetcher) obtainAll(ctx context.Context, r Ref, d store.Folder, found []located) (Local, error) {
	if err := f.roomForAll(d, found); err != nil {
		return Local{}, err
	}
	if f.Early != nil && !found[0].have {
		h := Header{Ref: r}
		for _, at := range found {
			h.Size += max(at.local.Size, at.src.Size)
		}
		found[0].src.model = &h
	}
	var whole Local
	var hashes []string
	for i, at := range found {
		l := at.local
		if !at.have {
			var err error
			if l, err = f.obtain(ctx, at.ref, d, at.src, r.Revision, at.ref.File); err != nil {
				return Local{}, err
			}
		}
		hashes = append(hashes, l.SHA256)
		if i == 0 {
			whole = l
			continue
		}
		whole.Size += l.Size
	}
	whole.Ref, whole.Shards, whole.hashes = r, len(found), hashes
	return whole, nil
}

// roomForAll checks that the disk has space for what is missing of a split model. For a
// model in one file, transfer does.
func (f *Fetcher) roomForAll(d store.Folder, found []located) error {
	if len(found) < 2 {
		return nil
	}
	var need int64
	for _, at := range found {
		if !at.have && !d.Has(at.src.blob, at.src.Size) {
			need += at.src.Size - min(at.src.Size, disk.Allocated(d.Incomplete(at.src.blob)))
		}
	}
	if need == 0 {
		return nil
	}
	return f.room(f.Store.Dir(), need)
}

// obtain makes sure that the store has a file: it may be there, another process may be
// fetching it, or it is fetched now.
func (f *Fetcher) obtain(ctx context.Context, r Ref, d store.Folder, src source, revision, file string) (l Local, err error) {
	// This is before the lock, because a file that is there costs nothing.
	if _, size, ok := d.Stored(src.commit, file); ok && src.fits(size) {
		d.RemoveStaleLock(src.blob)
		return f.present(ctx, r, d, src.commit, revision, file)
	}
	defer func() {
		if err != nil {
			d.Tidy()
		}
	}()
	var waiting Task
	release, err := d.Lock(ctx, src.blob, func() {
		if waiting == nil {
			waiting = f.begin("wait for "+path.Base(file), src.Size)
			waiting.Note("another process is downloading this file; waiting for it")
		}
		waiting.Set(transfer.Received(d.Incomplete(src.blob)))
	})
	if waiting != nil {
		waiting.End(err)
	}
	if err != nil {
		return Local{}, err
	}
	defer release()
	if _, size, ok := d.Stored(src.commit, file); ok && src.fits(size) {
		return f.present(ctx, r, d, src.commit, revision, file)
	}
	// An earlier commit may have had the same content.
	if !src.byContent && d.Has(src.blob, src.Size) {
		return f.linked(ctx, r, d, src, revision, file, src.blob)
	}
	// Before the download, so that a store that cannot take it costs nothing.
	copies, err := f.Store.Copies()
	if err != nil {
		return Local{}, err
	}
	if taken, err := f.adopt(ctx, r, d, src); err != nil {
		return Local{}, err
	} else if taken {
		return f.linked(ctx, r, d, src, revision, file, src.blob)
	}
	task := f.begin("download "+path.Base(file), src.Size)
	noteDamage(d, src, file, task)
	if copies {
		task.Note("the file system of " + f.Store.Dir() + " has no symlinks: the store keeps the file itself in the snapshot")
	}
	blob, err := f.transfer(ctx, d, src, task)
	if err == nil {
		err = d.Own(blob)
	}
	task.End(err)
	if err != nil {
		return Local{}, err
	}
	src.commit = cmp.Or(src.commit, blob)
	return f.linked(ctx, r, d, src, revision, file, blob)
}

// linked shows a blob under its file name.
func (f *Fetcher) linked(ctx context.Context, r Ref, d store.Folder, src source, revision, file, blob string) (Local, error) {
	if err := d.Link(src.commit, file, blob); err != nil {
		return Local{}, err
	}
	return f.present(ctx, r, d, src.commit, revision, file)
}

// present records what a revision means now, and describes the file.
func (f *Fetcher) present(ctx context.Context, r Ref, d store.Folder, commit, revision, file string) (Local, error) {
	l, err := f.local(ctx, r, d, commit, file)
	if err != nil {
		return Local{}, err
	}
	// A read-only store still serves what it has.
	if err := d.SetRevision(revision, commit); err != nil && !disk.IsReadOnly(err) {
		return Local{}, err
	}
	return l, nil
}

// transfer fetches a blob and gives it its final name, which it returns. On failure the
// partial file stays where the next run can use it.
func (f *Fetcher) transfer(ctx context.Context, d store.Folder, src source, task Task) (blob string, err error) {
	to := transfer.Target{Partial: d.Incomplete(src.blob), Final: d.Blob(src.blob), Open: d.OpenFile}
	if src.byContent {
		to.Final = ""
	}
	if f.Early != nil && src.model != nil {
		to.Grown = func(path string, here int64) bool { return f.early(ctx, src, path, here) }
	}
	if src.Size >= 0 {
		if err := f.room(f.Store.Dir(), src.Size-disk.Allocated(to.Partial)); err != nil {
			return "", err
		}
	}
	path, err := f.client().Fetch(ctx, src.Source, to, task)
	return filepath.Base(path), err
}

// room reports whether the disk has space for need more bytes; the error is a
// *disk.NoSpaceError.
func (f *Fetcher) room(dir string, need int64) error {
	free := f.free
	if free == nil {
		free = disk.Free
	}
	have, err := free(dir)
	if err != nil {
		return err
	}
	if have < need {
		return &disk.NoSpaceError{Dir: dir, Need: need, Free: have}
	}
	return nil
}
