package model

import (
	"context"
	"fmt"
)

func (f *Fetcher) fromHub(ctx context.Context, ref Ref) (Local, error) {
	d := f.Store.hubFolder(ref.Repo)
	if ref.File == "" {
		var err error
		if ref.File, err = f.choose(ctx, ref, d); err != nil {
			return Local{}, err
		}
	}
	parts := shardsOf(ref.File)
	if len(parts) > 1 && ref.SHA256 != "" {
		return Local{}, errShardHash
	}
	// All parts are looked up before one is fetched: a model that lacks one, or that
	// the disk has no room for, is refused before gigabytes were spent on it.
	found := make([]located, len(parts))
	for i, part := range parts {
		one := ref
		one.File = part
		var err error
		if found[i], err = f.locate(ctx, one, d); err != nil && len(parts) > 1 {
			return Local{}, fmt.Errorf("the model is in %d files, of which %s cannot be had: %w", len(parts), part, err)
		} else if err != nil {
			return Local{}, err
		}
	}
	return f.obtainAll(ctx, ref, d, found)
}

// obtainAll makes sure that the store has all files of a model, the first one first.
func (f *Fetcher) obtainAll(ctx context.Context, ref Ref, d folder, found []located) (Local, error) {
	if err := f.roomForAll(d, found); err != nil {
		return Local{}, err
	}
	if f.Early != nil && !found[0].have {
		h := Header{Ref: ref}
		for _, at := range found {
			h.Size += max(at.local.Size, at.src.size)
		}
		found[0].src.model = &h
	}
	var whole Local
	for i, at := range found {
		l := at.local
		if !at.have {
			var err error
			if l, err = f.obtain(ctx, at.ref, d, at.src, ref.Revision, at.ref.File); err != nil {
				return Local{}, err
			}
		}
		if i == 0 {
			whole = l
			continue
		}
		whole.Size += l.Size
	}
	whole.Ref, whole.Shards = ref, len(found)
	return whole, nil
}

// located is a file of a model that the store has, or whose identity is known.
type located struct {
	ref   Ref
	have  bool
	local Local
	src   source
}

// locate finds one file: in the store, or on the Hub.
func (f *Fetcher) locate(ctx context.Context, ref Ref, d folder) (located, error) {
	at := located{ref: ref}
	here := func(commit string) (located, error) {
		var err error
		at.have = true
		at.local, err = f.local(ctx, ref, d, commit, ref.File)
		return at, err
	}
	commit := d.commitOf(ref.Revision)
	_, _, have := d.stored(commit, ref.File)
	if have && commit == ref.Revision {
		return here(commit)
	}
	if f.Environment.Offline && !have {
		return at, errOffline
	}
	task := f.begin("look up "+ref.name(), 0)
	if f.Environment.Offline {
		task.Note(fmt.Sprintf("offline: using commit %.12s, which %s was when it was last asked", commit, ref.Revision))
		task.End(nil)
		return here(commit)
	}
	retries := uint64(askRetries)
	if have {
		retries = 1 // there is something to fall back on
	}
	var err error
	at.src, err = f.lookUp(ctx, ref, retries, task)
	if err != nil && have && transient(err) && ctx.Err() == nil {
		task.Note(fmt.Sprintf("%v; using commit %.12s, which %s was when it was last asked", err, commit, ref.Revision))
		task.End(nil)
		return here(commit)
	}
	if err == nil && at.src.want.none() {
		task.Note("the Hub gives no hash of this file: it is not verified against anything")
	}
	task.End(err)
	if err != nil {
		return at, f.withNeighbours(ctx, ref, err)
	}
	return at, nil
}

// roomForAll says whether the disk has space for what is missing of a model in
// several files. Of a model in one, obtain asks.
func (f *Fetcher) roomForAll(d folder, found []located) error {
	if len(found) < 2 {
		return nil
	}
	var need int64
	for _, at := range found {
		if !at.have && !d.hasBlob(at.src.blob) {
			need += at.src.size - min(at.src.size, onDisk(d.incomplete(at.src.blob)))
		}
	}
	if need == 0 {
		return nil
	}
	return f.room(d.store.dir, need)
}

// choose is the file that a ref without one means. What the store has of a commit
// that is pinned, or that cannot be asked for, decides without a request.
func (f *Fetcher) choose(ctx context.Context, ref Ref, d folder) (string, error) {
	commit := d.commitOf(ref.Revision)
	stored, _, storedErr := pick(d.files(commit), ref.Quant)
	// Without a quantisation, another file than the first choice may be here only
	// because somebody asked for it.
	sure := ref.Quant != "" || quantOf(stored) == usualQuants[0]
	if storedErr == nil && commit == ref.Revision && sure {
		return stored, nil
	}
	if f.Environment.Offline {
		if storedErr != nil {
			return "", errOffline
		}
		return stored, nil
	}
	retries := uint64(askRetries)
	if storedErr == nil {
		retries = 1
	}
	l, err := f.list(ctx, ref, retries)
	if err != nil && storedErr == nil && transient(err) && ctx.Err() == nil {
		return stored, nil
	}
	if err != nil {
		return "", err
	}
	names := make([]string, len(l.Files))
	for i, file := range l.Files {
		names[i] = file.Path
	}
	file, why, err := pick(names, ref.Quant)
	if err == nil && why != "" {
		task := f.begin("choose a file of "+ref.Repo, 0)
		task.Note(why + ": " + file)
		task.End(nil)
	}
	return file, err
}
