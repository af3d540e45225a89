package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/go-units"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

// GCOptions say what a collection leaves.
type GCOptions struct {
	// Keep is how much the store may take, as 50GB.
	Keep string
	// Yes removes without asking, DryRun only says what would go.
	Yes, DryRun bool
}

// CollectModels removes the least recently used models, until the store takes no more
// than asked, and downloads that were given up. It never removes a model that a pool
// serves or that another process holds, a file of the user's own, or what another tool
// put into the folder.
func (a *App) CollectModels(ctx context.Context, opt GCOptions) ([]RemovedModel, error) {
	keep, err := units.FromHumanSize(opt.Keep)
	if err != nil || keep < 0 {
		return nil, fault.New(fault.Usage, fmt.Sprintf("--keep must be a size, got %q", opt.Keep), nil, "write it as 50GB")
	}
	f, err := a.fetcher(nil)
	if err != nil {
		return nil, err
	}
	projects, busy, err := a.servedOf(ctx, f.Store)
	if err != nil {
		return nil, err
	}
	models, partials, err := f.Store.Collect(keep, func(path string) bool { return busy(path) != nil }, time.Now())
	if err != nil {
		return nil, storeFault(f.Store, err)
	}
	var plan []RemovedModel
	for _, p := range partials {
		plan = append(plan, RemovedModel{Ref: p.Path, Bytes: p.Size})
	}
	for _, m := range models {
		plan = append(plan, RemovedModel{Ref: m.Ref, Bytes: m.Frees})
	}
	if len(plan) == 0 || opt.DryRun {
		return plan, nil
	}
	if !opt.Yes {
		for _, r := range plan {
			fmt.Fprintf(a.Err, "%10s  %s\n", units.HumanSize(float64(r.Bytes)), r.Ref)
		}
		if ok, err := a.confirmRemoval(ctx); err != nil || !ok {
			return plan, err
		}
	}
	return a.removeCollected(ctx, f.Store, projects, models, partials)
}

// removeCollected removes what a collection chose. What somebody began to use since stays.
func (a *App) removeCollected(ctx context.Context, s *store.Store, projects []string, models []store.Candidate, partials []store.Partial) ([]RemovedModel, error) {
	var out []RemovedModel
	var errs []error
	done := func(r RemovedModel, err error) {
		var pool *servedError
		switch {
		case errors.Is(err, store.ErrInUse), errors.As(err, &pool), errors.Is(err, errUsedSince):
			fmt.Fprintf(a.Err, "%s stays: %v\n", r.Ref, err)
			return
		case err != nil:
			errs = append(errs, err)
		}
		r.Removed = err == nil
		out = append(out, r)
	}
	for _, p := range partials {
		freed, err := s.RemovePartial(p)
		done(RemovedModel{Ref: p.Path, Bytes: freed}, err)
	}
	for _, m := range models {
		free := a.stillFree(ctx, projects, m.Stored)
		freed, err := s.RemoveIf(m.Stored, func() error {
			if s.UsedSince(m.Stored) {
				return errUsedSince
			}
			return free()
		})
		done(RemovedModel{Ref: m.Ref, Bytes: freed}, err)
	}
	if len(errs) > 0 {
		return out, notRemoved(s, errors.Join(errs...))
	}
	return out, nil
}

// errUsedSince means that a model was the least recently used one, and is not any more.
var errUsedSince = errors.New("it was used since")
