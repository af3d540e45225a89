package store

import (
	"cmp"
	"errors"
	"os"
	"path"
	"slices"
	"time"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// Stored is a model that the store has, with all of its files.
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
	// Companions are other files of the repository that belong to it and go with it. Files
	// and Size do not count them.
	Companions []Companion `json:"companions,omitempty"`
	// Used is when it was last fetched or run, By who did. Both are empty where nobody
	// recorded it.
	Used time.Time `json:"used,omitzero"`
	By   []string  `json:"by,omitempty"`
	// Foreign says that another tool put it there, at least a part of it.
	Foreign bool `json:"foreign,omitempty"`
	// Damage says what is not as it was when it was verified; empty where all is well, as
	// far as can be told without reading all of it.
	Damage []string `json:"damage,omitempty"`

	folder Folder
	commit string
	// names are the files below the snapshot, and contents what they have.
	names    []string
	contents []contentAt
	// refs are all refs that it was used by.
	refs []string
}

// List returns the models that the store has with all of their files, the last used first.
// Other files of a shared cache are not among them.
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
	uses, r := d.uses(), d.record()
	var out []Stored
	for _, commit := range d.Commits() {
		for _, file := range d.names("snapshots", commit) {
			if parts := d.parts(commit, file); parts[0] != file {
				continue
			}
			if !d.isModel(r, commit, file) {
				continue
			}
			if m, whole := d.model(r, commit, file, uses); whole {
				out = append(out, m)
			}
		}
	}
	return withCompanions(out)
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

// isModel reports whether a file is a model: this program fetched it as one, or it begins
// as one. Other tools keep more kinds of files in the same layout.
func (d Folder) isModel(r record, commit, file string) bool {
	if _, ok := r.Files[useOf(commit, file)]; ok {
		return true
	}
	f, err := os.Open(d.File(commit, file))
	if err != nil {
		return false
	}
	defer f.Close()
	head, err := gguf.ReadHead(f)
	return err == nil && gguf.Check(head) == nil
}

// model is the one that begins with a file; false where one of its files is missing.
func (d Folder) model(r record, commit, first string, uses map[string]use) (Stored, bool) {
	m := Stored{folder: d, commit: commit, names: d.parts(commit, first), Path: d.File(commit, first)}
	for _, name := range m.names {
		c, err := d.look(r, commit, name)
		var damaged *DamagedError
		switch {
		case errors.As(err, &damaged):
			m.Damage = append(m.Damage, name+": "+damaged.what())
		case err != nil:
			return Stored{}, false
		}
		at := contentOfFile(d.File(commit, name), c.size)
		if !slices.Contains(m.contents, at) {
			m.contents = append(m.contents, at)
		}
		m.Foreign = m.Foreign || !c.ours
		m.Size += c.size
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
	for _, r := range append(u.Refs, u.Ref) {
		if r != "" && !slices.Contains(m.refs, r) {
			m.refs = append(m.refs, r)
		}
	}
	m.Ref = cmp.Or(m.Ref, u.Ref)
}

// refOf is a ref that fetches a model from the store again: with its commit or digest
// where its kind has one, else the ref that it was last used by.
func (d Folder) refOf(m Stored) string {
	if repo, ok := d.repo(); ok {
		if digest.IsSHA1(m.commit) {
			return repo.In(m.commit, m.names[0])
		}
		// No commit is known of it: a mirror said none.
		return cmp.Or(m.Ref, repo.In(repo.Site.DefaultRevision(), m.names[0]))
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
