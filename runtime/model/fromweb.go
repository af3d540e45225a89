package model

import (
	"context"
	"errors"
	"fmt"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

// webRevision is the revision that records a plain URL's last version.
const webRevision = "latest"

// probe asks a plain URL what it has.
func (f *Fetcher) probe(ctx context.Context, r Ref, retries uint64, task Task) (source, error) {
	got, err := f.client().Probe(ctx, r.URL, digest.Want{SHA256: r.SHA256}, retries, task.Note)
	if err != nil {
		return source{}, err
	}
	src := source{Source: got, byContent: true}
	switch {
	case r.SHA256 != "":
		src.commit = r.SHA256
	case src.Validator != "":
		src.commit = digest.NameOf(src.Validator)
	default:
		// Only the size tells one version from the next.
		src.commit = fmt.Sprintf("size-%d", src.Size)
	}
	src.blob = src.commit
	return src, nil
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
		if err == nil && src.Want.None() {
			task.Note("the ref has no #sha256: the file is not verified against anything")
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
