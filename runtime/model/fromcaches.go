package model

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/runtime/model/caches"
	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/disk"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/store"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// caches are the folders of other tools that the environment names, but the store itself.
func (f *Fetcher) caches() []caches.Cache {
	all := append([]caches.Cache{{Layout: caches.HuggingFace, Dir: f.Environment.HubCache}}, f.Environment.Caches...)
	return slices.DeleteFunc(all, func(c caches.Cache) bool { return c.Dir == "" || c.Dir == f.Store.Dir() })
}

// orCaches gets a model by fetch, or from another tool's cache: before the source is asked
// where that must not or need not be, after it where it does not answer. What a ref to
// Ollama means is what Ollama has here.
func (f *Fetcher) orCaches(ctx context.Context, r Ref, fetch func(*Fetcher, context.Context, Ref) (Local, error)) (Local, error) {
	d := f.Store.Folder(r)
	first := f.Environment.Offline || f.Environment.Update.keeps() || r.IsOllama()
	if first {
		here, err := f.bring(ctx, r, d)
		if err != nil {
			return Local{}, err
		}
		if here && r.IsOllama() {
			kept := *f
			kept.Environment.Update = UpdateNever
			return fetch(&kept, ctx, r)
		}
	}
	l, err := fetch(f, ctx, r)
	if err == nil || first || !transfer.IsTransient(err) || ctx.Err() != nil {
		return l, err
	}
	if here, berr := f.bring(ctx, r, d); berr != nil || !here {
		return Local{}, err
	}
	kept := *f
	kept.Environment.Update = UpdateNever
	return fetch(&kept, ctx, r)
}

// bring takes what a ref means out of another tool's cache into the store, where the store
// has nothing that it means. It asks no source. It returns whether the store has a cache's
// model now.
func (f *Fetcher) bring(ctx context.Context, r Ref, d store.Folder) (bool, error) {
	have := f.holds(r, d)
	if have && !r.IsOllama() || r.Kind == ref.Hub && !isHuggingFace(d) {
		return false, nil
	}
	for _, c := range f.caches() {
		snap, ok := c.Snapshot(r)
		if !ok {
			continue
		}
		if have && d.CommitOf(r.Revision) == snap.Commit {
			return true, nil
		}
		files, ok := snap.Find(meantIn(r, snap))
		if !ok || len(files) == 0 {
			continue
		}
		if taken, err := f.takeAll(ctx, r, d, c, snap, files); err != nil || taken {
			return taken, err
		}
	}
	return false, nil
}

// isHuggingFace reports whether a folder of the store is of a repository of the Hugging
// Face Hub, which is what the caches' names are of.
func isHuggingFace(d store.Folder) bool { return strings.HasPrefix(filepath.Base(d.Dir()), "models--") }

// holds reports whether the store has what a ref last meant.
func (f *Fetcher) holds(r Ref, d store.Folder) bool {
	commit := d.CommitOf(r.Revision)
	if r.Kind == ref.Registry {
		_, have := f.inSnapshot(r, d, commit)
		return have
	}
	file := r.File
	if file == "" {
		var err error
		if file, _, err = pickStored(d, commit, r.Quant); err != nil {
			return false
		}
	}
	for _, shard := range gguf.Shards(file) {
		if _, _, ok := d.Stored(commit, shard); !ok {
			return false
		}
	}
	return true
}

// meantIn are the names of the files of a snapshot's model that a ref means, the first one
// first.
func meantIn(r Ref, s caches.Snapshot) []string {
	file := r.File
	if file == "" {
		var err error
		if file, _, err = gguf.PickBy(s.Names(), r.Quant, func(name string) (gguf.Facts, error) {
			at, ok := s.Find([]string{name})
			if !ok {
				return gguf.Facts{}, os.ErrNotExist
			}
			return gguf.ExamineFile(at[0].Path)
		}); err != nil {
			return nil
		}
	}
	names := gguf.Shards(file)
	if _, ok := s.Find(names); !ok {
		return []string{file}
	}
	return names
}

// takeAll takes the files of one model. It returns false where one of them is not what it
// is said to be.
func (f *Fetcher) takeAll(ctx context.Context, r Ref, d store.Folder, c caches.Cache, snap caches.Snapshot, files []caches.File) (bool, error) {
	blobs := make([]string, len(files))
	for i, file := range files {
		want := file.SHA256
		if len(files) == 1 {
			want = cmp.Or(r.SHA256, want)
		}
		var err error
		if blobs[i], err = f.take(ctx, d, c, file, want); err != nil || blobs[i] == "" {
			return false, err
		}
	}
	commit := snap.Commit
	switch {
	case commit != "":
	case len(blobs) == 1:
		commit = blobs[0]
	default:
		// Nobody knows the commit, and the server looks for the files in one folder.
		commit = "set-" + digest.NameOf(strings.Join(blobs, "\x00"))
	}
	for i, file := range files {
		if err := d.Link(commit, file.Name, blobs[i]); err != nil {
			return false, err
		}
	}
	return true, d.SetRevision(r.Revision, commit)
}

// take makes a blob of another tool's file, and returns its name: its SHA-256, which must be
// the wanted one where any is. It is empty where the file is not what it is said to be.
func (f *Fetcher) take(ctx context.Context, d store.Folder, c caches.Cache, file caches.File, want string) (string, error) {
	sum, err := f.readModel(ctx, file, want)
	task := f.begin("take "+path.Base(file.Name)+" from "+c.Dir, 0)
	defer task.End(nil)
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err != nil:
		task.Note(fmt.Sprintf("%s cannot be used: %v", file.Path, err))
		return "", nil
	case want != "" && sum != want:
		task.Note(fmt.Sprintf("%s cannot be used: it hashes to %s, want %s", file.Path, sum, want))
		return "", nil
	case want == "":
		task.Note("no hash of this file is kept there: it is not verified against anything")
	}
	release, err := d.Lock(ctx, sum, func() {})
	if err != nil {
		return "", err
	}
	defer release()
	if d.Has(sum, file.Size) {
		return sum, nil
	}
	how, err := d.Adopt(file.Path, sum, func() error { return f.room(f.Store.Dir(), file.Size) })
	if err != nil {
		return "", err
	}
	task.Note(how)
	return sum, nil
}

// readModel is the SHA-256 of a file that begins as a model does. Where no hash says that
// the file is whole, its header has to.
func (f *Fetcher) readModel(ctx context.Context, file caches.File, want string) (string, error) {
	in, err := os.Open(file.Path)
	if err != nil {
		return "", err
	}
	head, err := gguf.ReadHead(in)
	in.Close()
	if err == nil {
		err = gguf.Check(head)
	}
	if err == nil && want == "" {
		_, err = gguf.ExamineFile(file.Path)
	}
	if err != nil {
		return "", err
	}
	return f.hash(ctx, file.Path, "", file.Size)
}

// adopt takes a blob whose identity is known out of another tool's cache. It verifies the
// file first, and does not change it. It returns false where there is nothing to take.
func (f *Fetcher) adopt(ctx context.Context, r Ref, d store.Folder, src source) (bool, error) {
	if src.Want.None() || src.byContent {
		return false, nil
	}
	w := caches.Wanted{Hash: cmp.Or(src.Want.SHA256, src.Want.Git), Size: src.Size}
	if r.Kind == ref.Hub && isHuggingFace(d) {
		w.Repo, w.Name = r.Repo, r.File
	}
	for _, c := range f.caches() {
		for _, theirs := range c.Candidates(w) {
			if taken, err := f.adoptFile(ctx, d, c, src, w.Hash, theirs); err != nil || taken {
				return taken, err
			}
		}
	}
	return false, nil
}

// adoptFile takes one file of another tool's, if it has the wanted hash.
func (f *Fetcher) adoptFile(ctx context.Context, d store.Folder, c caches.Cache, src source, want, theirs string) (bool, error) {
	size := disk.Size(theirs)
	got, err := f.hash(ctx, theirs, want, size)
	if err != nil {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		return false, nil
	}
	task := f.begin("take it from "+c.Dir, 0)
	if got != want {
		task.Note(fmt.Sprintf("%s hashes to %s, want %s: it is downloaded again", theirs, got, want))
		task.End(nil)
		return false, nil
	}
	how, err := d.Adopt(theirs, src.blob, func() error { return f.room(f.Store.Dir(), size) })
	if err == nil {
		task.Note(how)
	}
	task.End(err)
	return err == nil, err
}
