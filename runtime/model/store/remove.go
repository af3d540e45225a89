package store

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"
)

// givenUpAfter is the time without progress after which a download counts as given up.
const givenUpAfter = 7 * 24 * time.Hour

// Remove takes a model out of the store, and of its blobs those that no other snapshot
// shows. It returns how many bytes are free again.
func (s *Store) Remove(m Stored) (freed int64, err error) {
	d := m.folder
	var errs []error
	for _, name := range m.names {
		blob, size, ok := d.Stored(m.commit, name)
		if err := os.Remove(d.File(m.commit, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		if !ok || d.shows(blob) {
			continue
		}
		if err := os.Remove(d.Blob(blob)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		freed += size
	}
	d.forget(m)
	return freed, errors.Join(errs...)
}

// shows reports whether any snapshot has a blob.
func (d Folder) shows(blob string) bool {
	commits, _ := os.ReadDir(d.path("snapshots"))
	for _, c := range commits {
		for _, file := range d.Files(c.Name()) {
			if b, _, ok := d.Stored(c.Name(), file); ok && b == blob {
				return true
			}
		}
	}
	return false
}

// forget removes what is left of a model that is gone: its uses, revisions that mean
// nothing any more, and empty folders.
func (d Folder) forget(m Stored) {
	d.changeUses(func(all map[string]use) {
		for _, name := range m.names {
			delete(all, useOf(m.commit, name))
		}
	})
	removeEmpty(d.path("snapshots"))
	if _, err := os.Stat(d.path("snapshots")); errors.Is(err, fs.ErrNotExist) {
		_ = os.RemoveAll(d.path("refs"))
	}
	d.Tidy()
}

// Collect returns which models have to go for the store to take at most keep bytes: the
// least recently used first, and never one whose path is busy. It also returns the
// partial downloads that made no progress for a week.
func (s *Store) Collect(keep int64, busy func(path string) bool, now time.Time) (models []Stored, partials []Partial, err error) {
	all, err := s.List()
	if err != nil {
		return nil, nil, err
	}
	left, err := s.Partials()
	if err != nil {
		return nil, nil, err
	}
	var sum int64
	for _, p := range left {
		if now.Sub(p.Changed) > givenUpAfter {
			partials = append(partials, p)
		} else {
			sum += p.Size
		}
	}
	for _, m := range all {
		sum += m.Size
	}
	for _, m := range slices.Backward(all) {
		if sum <= keep {
			break
		}
		if busy(m.Path) {
			continue
		}
		models = append(models, m)
		sum -= m.Size
	}
	return models, partials, nil
}
