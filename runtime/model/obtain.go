package model

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"

	"github.com/docker/go-units"
)

// noSpaceError is a disk without room for the file.
type noSpaceError struct {
	dir        string
	need, free int64
}

func (e *noSpaceError) Error() string {
	return fmt.Sprintf("%s needs %s more and has %s free", e.dir, units.BytesSize(float64(e.need)), units.BytesSize(float64(e.free)))
}

// errDiskFull is a disk that filled up while the file was written.
var errDiskFull = errors.New("the disk is full; the partial download was deleted to give its space back")

// obtain makes sure that the store has the file: it may be there, another
// process may be fetching it, or it is fetched now.
func (f *Fetcher) obtain(ctx context.Context, ref Ref, d folder, src source, revision, file string) (l Local, err error) {
	// Before the lock, since a present model is to cost nothing.
	if _, _, ok := d.stored(src.commit, file); ok {
		return f.present(ctx, ref, d, src.commit, revision, file)
	}
	defer func() {
		if err != nil {
			d.tidy()
		}
	}()
	var waiting Task
	release, err := f.Store.lock(ctx, d, src.blob, func() {
		if waiting == nil {
			waiting = f.begin("wait for "+path.Base(file), src.size)
			waiting.Note("another process is downloading this file; waiting for it")
		}
		waiting.Set(received(d.incomplete(src.blob)))
	})
	if waiting != nil {
		waiting.End(err)
	}
	if err != nil {
		return Local{}, err
	}
	defer release()
	if _, _, ok := d.stored(src.commit, file); ok {
		return f.present(ctx, ref, d, src.commit, revision, file)
	}
	// An earlier commit may have had the same content.
	if !src.byContent && d.hasBlob(src.blob) {
		return f.linked(ctx, ref, d, src, revision, file, src.blob)
	}
	if taken, err := f.adopt(ctx, d, src); err != nil {
		return Local{}, err
	} else if taken {
		return f.linked(ctx, ref, d, src, revision, file, src.blob)
	}
	task := f.begin("download "+path.Base(file), src.size)
	blob, err := f.transfer(ctx, d, src, task)
	task.End(err)
	if err != nil {
		return Local{}, err
	}
	return f.linked(ctx, ref, d, src, revision, file, blob)
}

// linked makes a blob visible under its file name.
func (f *Fetcher) linked(ctx context.Context, ref Ref, d folder, src source, revision, file, blob string) (Local, error) {
	if err := d.link(src.commit, file, blob); err != nil {
		return Local{}, err
	}
	return f.present(ctx, ref, d, src.commit, revision, file)
}

// present records what the revision means now, and describes the file.
func (f *Fetcher) present(ctx context.Context, ref Ref, d folder, commit, revision, file string) (Local, error) {
	l, err := f.local(ctx, ref, d, commit, file)
	if err != nil {
		return Local{}, err
	}
	// A store that can only be read still serves what it has.
	if err := d.setRef(revision, commit); err != nil && !isReadOnly(err) {
		return Local{}, err
	}
	return l, nil
}

// transfer fetches a blob and gives it its final name, which it returns. On
// failure the partial file stays where the next run can go on with it.
func (f *Fetcher) transfer(ctx context.Context, d folder, src source, task Task) (blob string, err error) {
	file := d.incomplete(src.blob)
	if src.size >= 0 {
		if err := f.room(d.store.dir, src.size-onDisk(file)); err != nil {
			return "", err
		}
	}
	if f.piecewise(src) {
		err := f.transferPieces(ctx, d, src, task)
		if !errors.Is(err, errWhole) {
			return src.blob, err
		}
		task.Note("the server does not give parts of the file: it is fetched in one")
	}
	gitSize := int64(-1)
	if src.want.git != "" {
		gitSize = src.size
	}
	p, err := openPartial(ctx, d.store, file, gitSize, src.resumable, task.Set)
	if err != nil {
		return "", err
	}
	defer func() {
		switch {
		case err == nil:
		case keepable(err) && src.resumable:
			p.keep()
		default:
			p.discard()
		}
	}()
	if src.size >= 0 && p.size > src.size {
		if err := p.restart(); err != nil {
			return "", err
		}
	}
	if p.size > 0 && p.size < src.size {
		task.Note(fmt.Sprintf("going on after %s", units.BytesSize(float64(p.size))))
	}
	if err := f.download(ctx, src, p, task); err != nil {
		if isFull(err) {
			return "", fmt.Errorf("%w: %w", errDiskFull, err)
		}
		return "", err
	}
	if err := p.verify(src.want); err != nil {
		task.Note(err.Error())
		return "", &refetchError{err}
	}
	blob = src.blob
	if src.byContent {
		blob = p.sha256()
	}
	return blob, p.publish(filepath.Join(filepath.Dir(file), blob))
}

// keepable says whether what was received is still worth something: not after a
// mismatch, a changed file or a wrong kind of file, and not on a full disk.
func keepable(err error) bool {
	var m *refetchError
	return !errors.As(err, &m) && !errors.Is(err, errChanged) && !errors.Is(err, errNotModel) && !isFull(err)
}

// room says whether the disk has space for need more bytes.
func (f *Fetcher) room(dir string, need int64) error {
	free := f.free
	if free == nil {
		free = freeSpace
	}
	have, err := free(dir)
	if err != nil {
		return err
	}
	if have < need {
		return &noSpaceError{dir, need, have}
	}
	return nil
}
