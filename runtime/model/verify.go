package model

import (
	"context"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

// Verify reads all of a stored model's files again and compares them with the hashes that
// the store keeps them under. It returns what is wrong, nothing where all is well.
func (f *Fetcher) Verify(ctx context.Context, m store.Stored) ([]string, error) {
	return m.Verify(ctx, f.hash)
}

// Refetch fetches a stored model again by a ref that pins it. It removes the model first,
// because otherwise the fetch would find it. Its revisions and uses are kept. A model that
// another process holds is not removed.
func (f *Fetcher) Refetch(ctx context.Context, m store.Stored, r Ref) error {
	record := m.Record()
	// This process may hold it from an earlier fetch.
	f.Store.Release()
	if _, err := f.Store.Remove(m); err != nil {
		return fault.New(fault.Model, m.Ref+" cannot be removed", err, "check who owns "+f.Store.Dir())
	}
	if _, err := f.Fetch(ctx, r); err != nil {
		return err
	}
	if err := record.Restore(time.Now()); err != nil {
		return fault.New(fault.Model, m.Ref+" was fetched again, but its revisions cannot be recorded", err, "check who owns "+f.Store.Dir())
	}
	return nil
}
