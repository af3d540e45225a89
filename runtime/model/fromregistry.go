package model

import (
	"context"
	"fmt"

	"github.com/llorch/llorch-bk/runtime/model/disk"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/registry"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

// fromRegistry gets a model from a container registry.
func (f *Fetcher) fromRegistry(ctx context.Context, r Ref) (Local, error) {
	d := f.Store.Folder(r)
	commit := d.CommitOf(r.Revision)
	here, have := f.inSnapshot(r, d, commit)
	present := func() (Local, error) {
		found := make([]located, len(here))
		for i, at := range here {
			var err error
			if at.local, err = f.local(ctx, at.ref, d, commit, at.ref.File); err != nil {
				return Local{}, err
			}
			found[i] = at
		}
		return f.obtainAll(ctx, r, d, found)
	}
	if have && commit == r.Revision {
		return present()
	}
	var found []located
	old := earlier{have, fmt.Sprintf("digest %.12s, the last one known for %s", commit, r.Revision)}
	useEarlier, err := f.lookUp(ctx, r.Raw, old, func(retries uint64, task Task) (err error) {
		found, err = f.lookInRegistry(ctx, r, retries, task)
		return err
	})
	switch {
	case err != nil:
		return Local{}, err
	case useEarlier, f.keepsEarlier(old, len(found) > 0 && found[0].src.commit == commit):
		return present()
	}
	if len(found) > 1 && r.SHA256 != "" {
		return Local{}, errShardHash
	}
	for i, at := range found {
		if _, size, ok := d.Stored(at.src.commit, at.ref.File); !ok || !at.src.fits(size) {
			continue
		}
		if found[i].local, err = f.local(ctx, at.ref, d, at.src.commit, at.ref.File); err != nil {
			return Local{}, err
		}
		// The tag may mean now what is here under another tag.
		if err := d.SetRevision(r.Revision, at.src.commit); err != nil && !disk.IsReadOnly(err) {
			return Local{}, err
		}
		found[i].have = true
	}
	return f.obtainAll(ctx, r, d, found)
}

// inSnapshot returns the files of a manifest's model, and whether the store has them all.
func (f *Fetcher) inSnapshot(r Ref, d store.Folder, commit string) ([]located, bool) {
	first := firstOf(r, d, commit)
	if first == "" {
		return nil, false
	}
	var found []located
	for _, file := range gguf.Shards(first) {
		if _, _, ok := d.Stored(commit, file); !ok {
			return nil, false
		}
		one := r
		one.File = file
		found = append(found, located{ref: one, have: true})
	}
	return found, true
}

// firstOf is the first file of the model that a ref means among those of a manifest that
// are here; empty where there is none.
func firstOf(r Ref, d store.Folder, commit string) string {
	files := d.Files(commit)
	for _, file := range files {
		if blob, _, ok := d.Stored(commit, file); ok && r.SHA256 != "" && blob == r.SHA256 {
			return file
		}
	}
	first, _, err := gguf.Pick(files, gguf.QuantOf(r.Revision))
	if err != nil {
		first, _, err = gguf.Pick(files, "")
	}
	if err != nil {
		return ""
	}
	return first
}

// lookInRegistry asks the registry for the files of a model.
func (f *Fetcher) lookInRegistry(ctx context.Context, r Ref, retries uint64, task Task) ([]located, error) {
	m, err := (&registry.Client{Transfer: f.client()}).Look(ctx, r, retries, task.Note)
	if err != nil {
		return nil, err
	}
	found := make([]located, len(m.Files))
	for i, file := range m.Files {
		one := r
		one.File = file.Name
		found[i] = located{ref: one, src: source{Source: file.Source, commit: m.Digest, blob: file.Want.SHA256}}
	}
	return found, nil
}
