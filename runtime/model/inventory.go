package model

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

// Stored is a model that the store has whole.
type Stored struct {
	// Ref names it so that it is fetched from the store again: for one of the Hub
	// with its commit.
	Ref string `json:"ref"`
	// Path is its file, or the first of them.
	Path string `json:"path"`
	// Files are the names of all of them below the model's folder, Size is theirs together.
	Files []string `json:"files"`
	Size  int64    `json:"size"`
	Info  Info     `json:"info"`
	// Used is when it was last fetched or run, By who did; both are empty where
	// nobody wrote it down.
	Used time.Time `json:"used,omitzero"`
	By   []string  `json:"by,omitempty"`

	folder folder
	commit string
	// names are the files below the snapshot.
	names []string
}

// Partial is a download that was not finished.
type Partial struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
	// Changed is when it last grew.
	Changed time.Time `json:"changed"`
}

// usesFile is where a model's folder keeps who used what, and when. It is no
// content: a store without it is whole.
const usesFile = ".uses.json"

// use is a note of the last use of one file.
type use struct {
	At  time.Time `json:"at"`
	By  []string  `json:"by,omitempty"`
	Ref string    `json:"ref,omitempty"`
}

func (d folder) uses() map[string]use {
	out := map[string]use{}
	b, err := os.ReadFile(d.path(usesFile))
	if err == nil && json.Unmarshal(b, &out) != nil {
		return map[string]use{}
	}
	return out
}

// note writes down that a file was used. A store that cannot be written serves what
// it has, so nothing comes of a failure.
func (d folder) note(commit, file, ref, by string, now time.Time) {
	release, err := d.store.lock(context.Background(), d, "uses", func() {})
	if err != nil {
		return
	}
	defer release()
	all := d.uses()
	u := all[commit+"/"+file]
	u.At, u.Ref = now.UTC().Truncate(time.Second), ref
	if by != "" && !slices.Contains(u.By, by) {
		u.By = append(u.By, by)
	}
	all[commit+"/"+file] = u
	if b, err := json.MarshalIndent(all, "", "  "); err == nil {
		_ = renameio.WriteFile(d.path(usesFile), append(b, '\n'), fileMode, renameio.WithStaticPermissions(fileMode))
	}
}

// folders are the store's, by name.
func (s *Store) folders() ([]folder, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the model store: %w", err)
	}
	var out []folder
	for _, e := range entries {
		if e.IsDir() && (strings.HasPrefix(e.Name(), "models--") || strings.HasPrefix(e.Name(), "urls--") || strings.HasPrefix(e.Name(), registryPrefix)) {
			out = append(out, folder{s, e.Name()})
		}
	}
	return out, nil
}

// repo is the repository of a Hub's folder; false for a URL's.
func (d folder) repo() (string, bool) {
	name, ok := strings.CutPrefix(d.name, "models--")
	return strings.Replace(name, "--", "/", 1), ok
}

// List gives the models that the store has whole, the last used first.
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
func (d folder) models() []Stored {
	commits, _ := os.ReadDir(d.path("snapshots")) // none where there are none
	uses := d.uses()
	var out []Stored
	for _, c := range commits {
		files := d.files(c.Name())
		for _, file := range files {
			if s, ok := shardOf(file); ok && s.index > 1 {
				continue
			}
			parts := shardsOf(file)
			m := Stored{folder: d, commit: c.Name(), names: parts, Path: d.path(snapshotRel(c.Name(), file))}
			whole := true
			for _, part := range parts {
				_, size, ok := d.stored(c.Name(), part)
				whole = whole && ok
				m.Size += size
				m.Files = append(m.Files, path.Join("snapshots", c.Name(), part))
				u := uses[c.Name()+"/"+part]
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
			if !whole {
				continue
			}
			if repo, ok := d.repo(); ok {
				m.Ref = "hf:" + repo + "@" + c.Name() + "/" + file
			}
			if r, err := Parse(m.Ref); err == nil && r.Kind == Registry {
				m.Ref = r.pinned(c.Name())
			}
			m.Ref = cmp.Or(m.Ref, d.name)
			if info, err := Describe(m.Path); err == nil {
				m.Info = info
			}
			out = append(out, m)
		}
	}
	return out
}

// Partials are downloads that were not finished and that nobody is at.
func (s *Store) Partials() ([]Partial, error) {
	all, err := s.folders()
	if err != nil {
		return nil, err
	}
	var out []Partial
	for _, d := range all {
		found, _ := filepath.Glob(d.blob("*.incomplete")) // the pattern is right
		for _, p := range found {
			if info, err := os.Stat(p); err == nil {
				out = append(out, Partial{Path: p, Size: info.Size(), Changed: info.ModTime()})
			}
		}
	}
	return out, nil
}

// Find gives the stored models that a word means: a ref as List has it or as it
// was given to fetch, a repository, a folder's or file's name, or a path.
func (s *Store) Find(word string) ([]Stored, error) {
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	ref, refErr := Parse(word)
	var out []Stored
	for _, m := range all {
		repo, _ := m.folder.repo()
		hub := refErr == nil && ref.Kind == Hub && ref.Repo == repo &&
			(ref.File == "" || slices.Contains(m.names, ref.File)) &&
			(ref.Quant == "" || strings.EqualFold(quantOf(m.names[0]), ref.Quant)) &&
			(ref.Revision == DefaultRevision || m.folder.commitOf(ref.Revision) == m.commit)
		registry := refErr == nil && ref.Kind == Registry && s.registryFolder(ref.Repo) == m.folder && m.folder.commitOf(ref.Revision) == m.commit
		abs, _ := filepath.Abs(word) // else it is no path
		if hub || registry || m.Ref == word || m.Ref == publicURL(word) || repo == word || m.folder.name == word || m.Path == abs || path.Base(m.names[0]) == word {
			out = append(out, m)
		}
	}
	return out, nil
}

// publicURL is a URL without what must not be shown, as a Ref keeps it.
func publicURL(word string) string {
	if u, err := url.Parse(word); err == nil && u.Host != "" {
		return public(u)
	}
	return word
}

// Remove takes a model out of the store, and of its files those that no other
// snapshot shows. It returns the bytes that are free again.
func (s *Store) Remove(m Stored) (freed int64, err error) {
	d := m.folder
	var errs []error
	for _, name := range m.names {
		blob, size, ok := d.stored(m.commit, name)
		if err := os.Remove(d.path(snapshotRel(m.commit, name))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		if !ok || d.shows(blob) {
			continue
		}
		if err := os.Remove(d.blob(blob)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		freed += size
	}
	d.forget(m)
	return freed, errors.Join(errs...)
}

// shows says whether any snapshot still has a blob.
func (d folder) shows(blob string) bool {
	commits, _ := os.ReadDir(d.path("snapshots"))
	for _, c := range commits {
		for _, file := range d.files(c.Name()) {
			if b, _, ok := d.stored(c.Name(), file); ok && b == blob {
				return true
			}
		}
	}
	return false
}

// forget removes what is left of a model that is gone: its notes, revisions that
// mean nothing any more, and folders with nothing in them.
func (d folder) forget(m Stored) {
	if release, err := d.store.lock(context.Background(), d, "uses", func() {}); err == nil {
		all := d.uses()
		for _, name := range m.names {
			delete(all, m.commit+"/"+name)
		}
		if len(all) == 0 {
			_ = os.Remove(d.path(usesFile))
		} else if b, err := json.MarshalIndent(all, "", "  "); err == nil {
			_ = renameio.WriteFile(d.path(usesFile), append(b, '\n'), fileMode, renameio.WithStaticPermissions(fileMode))
		}
		release()
	}
	removeEmpty(d.path("snapshots"))
	if _, err := os.Stat(d.path("snapshots")); errors.Is(err, fs.ErrNotExist) {
		_ = os.RemoveAll(d.path("refs"))
	}
	d.tidy()
}

// Collect says which models would have to go for the store to take at most keep
// bytes: the longest unused first, and none of those that busy names by their
// path. Downloads that nobody went on with for a week go before.
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
		if now.Sub(p.Changed) > staleAfter {
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

// staleAfter is when a download that was broken off counts as given up.
const staleAfter = 7 * 24 * time.Hour
