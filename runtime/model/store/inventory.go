package store

import (
	"cmp"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// Stored is a model that the store has whole.
type Stored struct {
	// Ref fetches the model from the store again. Of a Hub model it has the commit.
	Ref string `json:"ref"`
	// Path is the absolute path of its file, or of the first one.
	Path string `json:"path"`
	// Files are the slash-separated paths of all its files below the model's folder, and
	// Size is their total in bytes.
	Files []string  `json:"files"`
	Size  int64     `json:"size"`
	Info  gguf.Info `json:"info"`
	// Used is when it was last fetched or run, By who did. Both are empty where nobody
	// recorded it.
	Used time.Time `json:"used,omitzero"`
	By   []string  `json:"by,omitempty"`

	folder Folder
	commit string
	// names are the files below the snapshot.
	names []string
}

// Partial is a download that is not finished.
type Partial struct {
	Path string `json:"path"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// Changed is when it last grew.
	Changed time.Time `json:"changed"`
}

// List returns the models that the store has whole, the last used first.
func (s *Store) List() ([]Stored, error) {
	all, err := s.folders()
	if err != nil {
		return nil, err
	}
	var out []Stored
	for _, d := range all {
		out = append(out, d.models()...)
	}
	slices.SortStableFunc(out, func(a, b Stored) int {
		return cmp.Or(b.Used.Compare(a.Used), cmp.Compare(a.Ref, b.Ref))
	})
	return out, nil
}

// models are those of one folder.
func (d Folder) models() []Stored {
	commits, _ := os.ReadDir(d.path("snapshots")) // none where there is no such folder
	uses := d.uses()
	var out []Stored
	for _, c := range commits {
		for _, file := range d.Files(c.Name()) {
			if parts := d.parts(c.Name(), file); parts[0] != file {
				continue
			}
			if m, whole := d.model(c.Name(), file, uses); whole {
				out = append(out, m)
			}
		}
	}
	return out
}

// parts are the files of the model that a file belongs to, by its header where it can be
// read.
func (d Folder) parts(commit, file string) []string {
	names := gguf.Parts(d.File(commit, file))
	for i, name := range names {
		names[i] = path.Join(path.Dir(file), name)
	}
	return names
}

// model is the one that begins with a file; false where one of its files is missing.
func (d Folder) model(commit, first string, uses map[string]use) (Stored, bool) {
	m := Stored{folder: d, commit: commit, names: d.parts(commit, first), Path: d.File(commit, first)}
	for _, name := range m.names {
		_, size, ok := d.Stored(commit, name)
		if !ok {
			return Stored{}, false
		}
		m.Size += size
		m.Files = append(m.Files, d.Rel(commit, name))
		m.addUse(uses[useOf(commit, name)])
	}
	m.Ref = d.refOf(m)
	if info, err := gguf.Describe(m.Path); err == nil {
		m.Info = info
	}
	return m, true
}

// addUse adds the use of one file to the model's.
func (m *Stored) addUse(u use) {
	if u.At.After(m.Used) {
		m.Used = u.At
	}
	for _, by := range u.By {
		if !slices.Contains(m.By, by) {
			m.By = append(m.By, by)
		}
	}
	m.Ref = cmp.Or(m.Ref, u.Ref)
}

// refOf is a ref that fetches a model from the store again: with its commit or digest
// where its kind has one, else the ref that it was last used by.
func (d Folder) refOf(m Stored) string {
	if repo, ok := d.repo(); ok {
		return "hf:" + repo + "@" + m.commit + "/" + m.names[0]
	}
	if r, err := ref.Parse(m.Ref); err == nil && r.Kind == ref.Registry {
		said := r.WithDigest(m.commit)
		if blob, _, ok := d.Stored(m.commit, m.names[0]); ok && len(m.names) == 1 && len(d.Files(m.commit)) > 1 {
			said += "#sha256=" + blob // an artifact can have several models
		}
		return said
	}
	return cmp.Or(m.Ref, d.name)
}

// Partials are downloads that are not finished.
func (s *Store) Partials() ([]Partial, error) {
	all, err := s.folders()
	if err != nil {
		return nil, err
	}
	var out []Partial
	for _, d := range all {
		found, _ := filepath.Glob(d.Incomplete("*")) // the pattern is right
		for _, p := range found {
			if info, err := os.Stat(p); err == nil {
				out = append(out, Partial{Path: p, Size: info.Size(), Changed: info.ModTime()})
			}
		}
	}
	return out, nil
}
