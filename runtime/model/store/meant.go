package store

import (
	"path/filepath"
	"slices"

	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// Meant returns the models that a word may mean to somebody who wants to have one of them
// removed. It is one where the word says which: by its own ref or path, by the commit that
// a revision means now, or because it is the one that this very ref fetched. Else it is
// all that Find returns.
func (s *Store) Meant(word string) ([]Stored, error) {
	found, err := s.Find(word)
	if err != nil {
		return nil, err
	}
	abs, _ := filepath.Abs(word) // where it fails, the word is no path
	found = narrow(found, func(m Stored) bool { return m.Ref == word || m.Path == abs })
	r, err := ref.Parse(word)
	if isRef := err == nil && (r.Kind == ref.Hub || r.Kind == ref.Registry); !isRef {
		return found, nil // the name of a folder or a file
	}
	found = narrow(found, func(m Stored) bool { return m.folder.CommitOf(r.Revision) == m.commit })
	return narrow(found, func(m Stored) bool { return slices.Contains(m.refs, r.Raw) }), nil
}

// narrow keeps the models that are meant, or all where none is.
func narrow(all []Stored, isMeant func(Stored) bool) []Stored {
	var out []Stored
	for _, m := range all {
		if isMeant(m) {
			out = append(out, m)
		}
	}
	if len(out) == 0 {
		return all
	}
	return out
}

// Like returns the other models of the store that have a content of a model: its removal
// does not free what they have.
func (s *Store) Like(m Stored) ([]Stored, error) {
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	var out []Stored
	for _, o := range all {
		shares := slices.ContainsFunc(o.contents, func(c contentAt) bool {
			return slices.ContainsFunc(m.contents, func(mine contentAt) bool { return mine.path == c.path })
		})
		if o.Path != m.Path && shares {
			out = append(out, o)
		}
	}
	return out, nil
}
