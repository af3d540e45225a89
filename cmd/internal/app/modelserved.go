package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

// servedError is a model that a pool serves.
type servedError struct{ pool string }

func (e *servedError) Error() string { return fmt.Sprintf("pool %s serves it", e.pool) }

// servedPath is a model's file that a pool serves.
type servedPath struct{ path, pool string }

// served returns a function that says of a model's path which pool serves it, as a
// *servedError. It asks the engine, and the handoffs of the projects that used the store:
// an engine that cannot be asked may still run a server.
func (a *App) served(ctx context.Context, projects []string) (busy func(path string) error, err error) {
	paths := fromHandoffs(projects)
	if eng, err := a.engine(ctx); err == nil {
		defer eng.Close()
		list, err := eng.servers(nil).Observe(ctx, "")
		if err != nil {
			return nil, interrupted(ctx, err)
		}
		for _, i := range list {
			paths = append(paths, servedPath{i.ModelPath, i.Pool})
			files, _ := filesOf(i) // what cannot be read names nothing
			paths = append(paths, besides(files, i.Pool)...)
		}
	}
	return func(path string) error {
		for _, p := range paths {
			if sameFile(p.path, path) {
				return &servedError{p.pool}
			}
		}
		return nil
	}, nil
}

// servedOf is served for the projects that used models of a store, which it also returns.
func (a *App) servedOf(ctx context.Context, s *store.Store) (projects []string, busy func(path string) error, err error) {
	if projects, err = projectsOf(s); err != nil {
		return nil, nil, err
	}
	busy, err = a.served(ctx, projects)
	return projects, busy, err
}

// projectsOf are the projects that used models of a store, by their handoff folders.
func projectsOf(s *store.Store) ([]string, error) {
	all, err := s.List()
	var out []string
	for _, m := range all {
		for _, by := range m.By {
			if filepath.IsAbs(by) && !slices.Contains(out, by) {
				out = append(out, by)
			}
		}
	}
	return out, storeFault(s, err)
}

// fromHandoffs are the models in the handoffs of projects.
func fromHandoffs(projects []string) []servedPath {
	var out []servedPath
	for _, dir := range projects {
		entries, err := handoff.List(dir)
		if err != nil {
			continue // A project that is gone serves nothing.
		}
		for _, e := range entries {
			if e.Err == nil {
				out = append(out, servedPath{e.Handoff.Model.Path, e.Pool})
				out = append(out, besides(e.Handoff.Files, e.Pool)...)
			}
		}
	}
	return out
}

// besides are the files that a server reads beside its model.
func besides(files []handoff.File, pool string) []servedPath {
	var out []servedPath
	for _, f := range files {
		out = append(out, servedPath{f.Path, pool})
	}
	return out
}

// stillFree asks again whether a pool serves a model, at the moment when no other process
// can begin to use it.
func (a *App) stillFree(ctx context.Context, projects []string, m store.Stored) func() error {
	return func() error {
		busy, err := a.served(ctx, projects)
		if err != nil {
			return err
		}
		return busy(m.Path)
	}
}

// sameFile says whether two names are of one file: two snapshots can show one blob.
func sameFile(a, b string) bool {
	if a == b {
		return a != ""
	}
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}
