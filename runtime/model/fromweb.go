package model

import (
	"context"
	"errors"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

// webRevision is the revision that records a plain URL's last version.
const webRevision = "latest"

// probe asks a plain URL what it has. The version is named by its hash, or by the server's
// validator. A server that gives neither, or a weak one, may have other bytes of the same
// size: then the content itself is the name, and it is fetched to be known.
func (f *Fetcher) probe(ctx context.Context, r Ref, retries uint64, task Task) (source, error) {
	got, err := f.client().Probe(ctx, r.URL, digest.Want{SHA256: r.SHA256}, retries, task.Note)
	if err != nil {
		return source{}, err
	}
	src := source{Source: got}
	switch {
	case got.Want.SHA256 != "":
		src.commit, src.blob = got.Want.SHA256, got.Want.SHA256
	case got.Validator != "":
		src.commit, src.byContent = digest.NameOf(got.Validator), true
		src.blob = src.commit
	default:
		src.blob, src.byContent = digest.NameOf(r.URL), true
	}
	return src, nil
}

// noteTrust says what a plain URL's file cannot be held to.
func noteTrust(src source, have bool, note func(string)) {
	if !src.Want.None() {
		return
	}
	note("the ref has no #sha256: the file is not verified against anything")
	if have && src.commit == "" {
		note("the server gives nothing that tells two versions of the file apart (a strong ETag): it is fetched again; a ref with #sha256=HEX is not")
	}
}

// errSharded means that a plain URL is of one file of a split model. Nothing says that the
// other files are at similar addresses.
var errSharded = errors.New("it is one of the files of a model in several")

// refuseShard refuses a file whose name says that it is one of several, unless its header
// says that it is a whole model.
func (f *Fetcher) refuseShard(ctx context.Context, name string, src source) error {
	if s, ok := gguf.ShardOf(name); !ok || s.Count < 2 {
		return nil
	}
	if facts, err := f.factsOf(ctx, src.Source); err == nil && facts.Split.Count < 2 {
		return nil
	}
	return errSharded
}

// fromWeb gets a model that a plain URL has.
func (f *Fetcher) fromWeb(ctx context.Context, r Ref) (Local, error) {
	name := r.BaseName()
	d := f.Store.Folder(r)
	commit := r.SHA256
	if commit == "" {
		commit = d.CommitOf(webRevision)
	} else if _, _, have := d.Stored(commit, name); !have && d.Has(commit, -1) {
		// It was fetched without a hash before, and is stored under its own.
		return f.linked(ctx, r, d, source{commit: commit}, webRevision, name, commit)
	}
	_, _, have := d.Stored(commit, name)
	if have && r.SHA256 != "" {
		return f.local(ctx, r, d, commit, name)
	}
	var src source
	old := earlier{have, "the copy in the store"}
	useEarlier, err := f.lookUp(ctx, r.Raw, old, func(retries uint64, task Task) (err error) {
		if src, err = f.probe(ctx, r, retries, task); err == nil {
			err = f.refuseShard(ctx, name, src)
		}
		if err == nil {
			noteTrust(src, have, task.Note)
		}
		return err
	})
	switch {
	case err != nil:
		return Local{}, err
	case useEarlier, f.keepsEarlier(old, src.commit == commit):
		return f.local(ctx, r, d, commit, name)
	}
	src.model = &Header{Ref: r, Size: src.Size}
	return f.obtain(ctx, r, d, src, webRevision, name)
}
