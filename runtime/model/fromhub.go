package model

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/hub"
	"github.com/llorch/llorch-bk/runtime/model/store"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// errShardHash means that one hash was given for several files.
var errShardHash = errors.New("the ref has a #sha256, which is of one file, and the model is in several")

// fromHub gets a model from the Hugging Face Hub, or from another site that refs name.
func (f *Fetcher) fromHub(ctx context.Context, r Ref) (Local, error) {
	d := f.Store.Folder(r)
	asked := f.hub(r.Site).Lookup(r)
	if r.File == "" {
		var err error
		if r.File, err = f.choose(ctx, r, d, asked); err != nil {
			return Local{}, err
		}
	}
	shards := partsOf(r, d)
	found, err := f.locateAll(ctx, r, d, asked, shards)
	if err != nil && ctx.Err() == nil && isAlone(r, shards, found) && f.isMerged(ctx, r, d, asked) {
		found, err = f.locateAll(ctx, r, d, asked, []string{r.File})
	}
	if err != nil {
		return Local{}, err
	}
	return f.obtainAll(ctx, r, d, found)
}

// locateAll looks up all files of a model before one is fetched. A model that lacks one,
// or that the disk has no room for, is refused before gigabytes were spent on it. With an
// error it returns those before the one that cannot be had.
func (f *Fetcher) locateAll(ctx context.Context, r Ref, d store.Folder, asked *hub.Lookup, files []string) ([]located, error) {
	if len(files) > 1 && r.SHA256 != "" {
		return nil, errShardHash
	}
	asked.Many = len(files) > 1
	found := make([]located, len(files))
	for i, file := range files {
		one := r
		one.File = file
		var err error
		if found[i], err = f.locate(ctx, one, d, asked); err != nil && len(files) > 1 {
			return found[:i], fmt.Errorf("the model is in %d files, of which %s cannot be had: %w", len(files), file, err)
		} else if err != nil {
			return nil, err
		}
	}
	together(found)
	return found, nil
}

// together gives the files of one model one snapshot, in which the server looks for them,
// where no commit of the repository does.
func together(found []located) {
	var names []string
	for _, at := range found {
		// What nothing tells from another version is of this fetch only, so it is fetched
		// again the next time.
		names = append(names, cmp.Or(at.src.commit, time.Now().String()))
	}
	if len(slices.Compact(slices.Clone(names))) < 2 {
		return
	}
	name := "set-" + digest.NameOf(strings.Join(names, "\x00"))
	for i := range found {
		if !found[i].have {
			found[i].src.commit = name
		}
	}
}

// locate finds one file, in the store or on the Hub.
func (f *Fetcher) locate(ctx context.Context, r Ref, d store.Folder, asked *hub.Lookup) (located, error) {
	at := located{ref: r}
	here := func(commit string) (located, error) {
		var err error
		at.have = true
		at.local, err = f.local(ctx, r, d, commit, r.File)
		return at, err
	}
	commit := d.CommitOf(r.Revision)
	_, _, have := d.Stored(commit, r.File)
	if have && commit == r.Revision {
		return here(commit)
	}
	old := earlier{have, fmt.Sprintf("commit %.12s, the last one known for %s", commit, r.Revision)}
	useEarlier, err := f.lookUp(ctx, r.Name(), old, func(retries uint64, task Task) error {
		file, err := asked.File(ctx, r.File, retries, task.Note)
		at.src = sourceOf(r, file)
		if err == nil && file.Want.None() {
			task.Note("the Hub gives no hash of this file: it is not verified against anything")
		}
		return err
	})
	switch {
	case err != nil:
		return at, f.withNeighbours(ctx, r, err)
	case useEarlier, f.keepsEarlier(old, isSame(d, commit, r.File, at.src)):
		return here(commit)
	}
	return at, nil
}

// sourceOf is a hub's file with its place in the store. A file whose commit nobody says is
// in a snapshot of its own hash, or of what tells its versions apart.
func sourceOf(r Ref, file hub.File) source {
	src := source{Source: file.Source, commit: file.Commit, blob: file.Blob}
	if src.blob == "" {
		// Any name will do for the partial file, if it is the same next time.
		src.byContent = true
		src.blob = digest.NameOf(r.Repo + "\x00" + file.Commit + "\x00" + r.File + "\x00" + file.Validator)
	}
	switch {
	case src.commit != "":
	case file.Want.SHA256 != "":
		src.commit = file.Want.SHA256
	case file.Validator != "":
		src.commit = "etag-" + src.blob
	}
	return src
}

// choose returns the file that a ref without one means. For a pinned commit, and where the
// Hub cannot be asked, it chooses from what the store has.
func (f *Fetcher) choose(ctx context.Context, r Ref, d store.Folder, asked *hub.Lookup) (string, error) {
	commit := d.CommitOf(r.Revision)
	stored, _, storedErr := pickStored(d, commit, r.Quant)
	// Without a quantisation, a file other than the first choice may be here only because
	// somebody asked for it.
	sure := r.Quant != "" || gguf.QuantOf(stored) == gguf.FirstChoice()
	if storedErr == nil && commit == r.Revision && sure {
		return stored, nil
	}
	if f.Environment.Offline || storedErr == nil && f.Environment.Update.keeps() {
		if storedErr != nil {
			return "", errOffline
		}
		return stored, nil
	}
	l, err := f.listBy(ctx, r, asked, f.retries(storedErr == nil))
	if err != nil && storedErr == nil && transfer.IsTransient(err) && ctx.Err() == nil {
		return stored, nil
	}
	if err != nil {
		return "", err
	}
	file, why, err := f.pick(ctx, r, l.Names(), asked)
	if err == nil && why != "" {
		task := f.begin("choose a file of "+r.Repo, 0)
		task.Note(why + ": " + file)
		task.End(nil)
	}
	return file, err
}
