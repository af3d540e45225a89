package store

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// Find returns the stored models that a word means: a ref as List has it or as it was
// given to fetch, a repository, the name of a folder or a file, or a path.
func (s *Store) Find(word string) ([]Stored, error) {
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	r, refErr := ref.Parse(word)
	var out []Stored
	for _, m := range all {
		if refErr == nil && s.isMeant(r, m) || m.isCalled(word) {
			out = append(out, m)
		}
	}
	return out, nil
}

// isMeant reports whether a Hub or Registry ref means a stored model.
func (s *Store) isMeant(r ref.Ref, m Stored) bool {
	switch r.Kind {
	case ref.Hub:
		return s.Folder(r) == m.folder &&
			(r.File == "" || slices.Contains(m.names, r.File)) &&
			(r.Quant == "" || strings.EqualFold(gguf.QuantOf(m.names[0]), r.Quant)) &&
			(r.Revision == r.Site.DefaultRevision() || m.folder.CommitOf(r.Revision) == m.commit)
	case ref.Registry:
		return s.Folder(r) == m.folder && m.folder.CommitOf(r.Revision) == m.commit
	case ref.File, ref.HTTP:
	}
	return false
}

// isCalled reports whether a word is one of a model's names.
func (m Stored) isCalled(word string) bool {
	repo, _ := m.folder.repo()
	abs, _ := filepath.Abs(word) // where it fails, the word is no path
	return slices.Contains([]string{m.Ref, repo.Repo, m.folder.name, path.Base(m.names[0])}, word) ||
		m.Ref == ref.PublicURL(word) || m.Path == abs
}
