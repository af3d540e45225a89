package app

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/docker/go-units"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

// RemovedModel is a model or an unfinished download that was, or would be, removed.
type RemovedModel struct {
	Ref string `json:"ref"`
	// Bytes are free again, or would be.
	Bytes   int64 `json:"bytes"`
	Removed bool  `json:"removed"`
	// Shared are the refs of models that have files of it, which stay.
	Shared []string `json:"shared,omitempty"`
}

// RemoveOptions say what a removal may do without asking.
type RemoveOptions struct {
	// Yes removes what another tool put into the store without asking.
	Yes bool
}

// RemoveModels takes models out of the store, one for each word, unless a pool serves
// them. A word that means several models is a question to the user.
func (a *App) RemoveModels(ctx context.Context, words []string, opt RemoveOptions) ([]RemovedModel, error) {
	f, err := a.fetcher(nil)
	if err != nil {
		return nil, err
	}
	var all []store.Stored
	seen := map[string]bool{}
	for _, w := range words {
		m, err := a.oneModel(ctx, f.Store, w)
		if err != nil {
			return nil, err
		}
		if !seen[m.Path] {
			seen[m.Path] = true
			all = append(all, m)
		}
	}
	projects, busy, err := a.servedOf(ctx, f.Store)
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if err := busy(m.Path); err != nil {
			return nil, inUse(m, err)
		}
		if err := a.mayRemove(ctx, m, opt); err != nil {
			return nil, err
		}
	}
	return a.removeAll(ctx, f.Store, projects, all)
}

// oneModel is the model that a word means. Where it may mean several, the user is asked.
func (a *App) oneModel(ctx context.Context, s *store.Store, word string) (store.Stored, error) {
	found, err := s.Meant(word)
	switch {
	case err != nil:
		return store.Stored{}, storeFault(s, err)
	case len(found) == 0:
		return store.Stored{}, fault.New(fault.Usage, "the store has no model "+word, nil, "llorch-bk model ls shows what it has")
	case len(found) == 1:
		return found[0], nil
	case !atTerminal():
		refs := make([]string, len(found))
		for i, m := range found {
			refs[i] = m.Ref
		}
		return store.Stored{}, fault.New(fault.Usage, fmt.Sprintf("%s means %d models", word, len(found)), errors.New("nothing was removed"),
			"name the one that is to go: "+strings.Join(refs, ", "))
	}
	fmt.Fprintf(a.Err, "%s means %d models:\n", word, len(found))
	for i, m := range found {
		fmt.Fprintf(a.Err, "%3d  %10s  %s\n", i+1, units.HumanSize(float64(m.Size)), m.Ref)
	}
	fmt.Fprintf(a.Err, "Remove which one? [1-%d, anything else for none] ", len(found))
	n, err := number(ctx)
	if err != nil {
		return store.Stored{}, interrupted(ctx, err)
	}
	if n < 1 || n > len(found) {
		return store.Stored{}, fault.New(fault.Usage, "nothing was removed", nil, "name the model that is to go: llorch-bk model ls shows them")
	}
	return found[n-1], nil
}

// mayRemove asks before a model goes that another tool put into the store.
func (a *App) mayRemove(ctx context.Context, m store.Stored, opt RemoveOptions) error {
	if !m.Foreign || opt.Yes {
		return nil
	}
	if !atTerminal() {
		return fault.New(fault.Usage, m.Ref+" was not removed", errors.New("another tool put it into the folder, and there is no terminal to ask at"), "say --yes to remove it all the same")
	}
	fmt.Fprintf(a.Err, "Another tool put %s (%s) into the folder. Remove it? [y/N] ", m.Ref, units.HumanSize(float64(m.Size)))
	ok, err := answer(ctx)
	if err != nil {
		return interrupted(ctx, err)
	}
	if !ok {
		return fault.New(fault.Usage, m.Ref+" was not removed", nil, "")
	}
	return nil
}

func inUse(m store.Stored, why error) error {
	fix := "wait until it ends, or end it"
	var pool *servedError
	if errors.As(why, &pool) {
		fix = "llorch-bk stop " + pool.pool
	}
	return fault.New(fault.Usage, m.Ref+" is in use", why, fix)
}

// removeAll removes models, each if nobody began to use it in the meantime.
func (a *App) removeAll(ctx context.Context, s *store.Store, projects []string, all []store.Stored) ([]RemovedModel, error) {
	var out []RemovedModel
	for _, m := range all {
		r := RemovedModel{Ref: m.Ref}
		var err error
		if r.Shared, err = shared(s, m); err != nil {
			return out, storeFault(s, err)
		}
		r.Bytes, err = s.RemoveIf(m, a.stillFree(ctx, projects, m))
		var pool *servedError
		switch {
		case errors.Is(err, store.ErrInUse), errors.As(err, &pool):
			return append(out, r), inUse(m, err)
		case err != nil:
			return append(out, r), notRemoved(s, err)
		}
		r.Removed = true
		out = append(out, r)
	}
	return out, nil
}

func notRemoved(s *store.Store, err error) error {
	return fault.New(fault.Model, "not everything could be removed", err, "check who owns "+s.Dir())
}

// shared are the refs of the other models that have files of a model.
func shared(s *store.Store, m store.Stored) ([]string, error) {
	others, err := s.Like(m)
	var out []string
	for _, o := range others {
		out = append(out, o.Ref)
	}
	return out, err
}
