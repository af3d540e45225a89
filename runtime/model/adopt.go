package model

import (
	"context"
	"fmt"

	"github.com/llorch/llorch-bk/runtime/model/store"
)

// adopt takes a blob out of the cache that Hugging Face's tools and llama.cpp share,
// where they have fetched it already. It verifies the blob first, and does not change
// their file. It returns false where there is nothing to take.
func (f *Fetcher) adopt(ctx context.Context, d store.Folder, src source) (bool, error) {
	cache := f.Environment.HubCache
	if cache == "" || src.Want.None() || src.byContent || cache == f.Store.Dir() {
		return false, nil
	}
	theirs, ok := d.InCache(cache, src.blob, src.Size)
	if !ok {
		return false, nil
	}
	got, err := f.hash(ctx, theirs, src.blob, src.Size)
	if err != nil {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		return false, nil
	}
	task := f.begin("take it from "+cache, 0)
	want := src.Want.SHA256
	if src.Want.Git != "" && src.Want.SHA256 == "" {
		want = src.Want.Git
	}
	if got != want {
		task.Note(fmt.Sprintf("the file there hashes to %s, want %s: it is downloaded again", got, want))
		task.End(nil)
		return false, nil
	}
	how, err := d.Adopt(theirs, src.blob, func() error { return f.room(f.Store.Dir(), src.Size) })
	if err == nil {
		task.Note(how)
	}
	task.End(err)
	return err == nil, err
}
