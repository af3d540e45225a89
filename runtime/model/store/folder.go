package store

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/disk"
	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// Folder is one model's folder in the store. It need not exist.
type Folder struct {
	store *Store
	name  string
}

func (d Folder) path(parts ...string) string {
	return filepath.Join(append([]string{d.store.dir, d.name}, parts...)...)
}

// Dir is the folder's absolute path.
func (d Folder) Dir() string { return d.path() }

// Blob is the path of the content with this name.
func (d Folder) Blob(name string) string { return d.path("blobs", name) }

// Incomplete is the path where the content with this name grows while it is fetched.
func (d Folder) Incomplete(name string) string { return d.Blob(name) + incomplete }

// incomplete ends the name of a partial file, and pieces that of the marks beside it.
const (
	incomplete = ".incomplete"
	pieces     = ".pieces"
)

// Rel is a file's slash-separated path inside the folder.
func (d Folder) Rel(commit, file string) string { return path.Join("snapshots", commit, file) }

// File is a file's absolute path: a relative symlink to its blob, or the content itself
// where the file system has no symlinks.
func (d Folder) File(commit, file string) string {
	return d.path("snapshots", commit, filepath.FromSlash(file))
}

// repo is a ref to the repository of a Hub ref's folder, false for any other folder.
func (d Folder) repo() (ref.Ref, bool) {
	r := ref.Ref{Kind: ref.Hub}
	name, ok := strings.CutPrefix(d.name, hubPrefix)
	if !ok {
		r.Site = ref.ModelScope
		name, ok = strings.CutPrefix(d.name, scopePrefix)
	}
	r.Repo = strings.Replace(name, "--", "/", 1)
	return r, ok
}

// CommitOf is the commit that a revision last meant, empty where none is known. A full
// commit or digest means itself.
func (d Folder) CommitOf(revision string) string {
	if digest.IsSHA1(revision) || digest.IsSHA256(revision) {
		return revision
	}
	b, err := os.ReadFile(d.path("refs", filepath.FromSlash(revision)))
	c := strings.TrimSpace(string(b))
	if err != nil || !ref.IsName(c) {
		return ""
	}
	return c
}

// SetRevision records the commit that a revision means now.
func (d Folder) SetRevision(revision, commit string) error {
	if revision == commit || d.CommitOf(revision) == commit {
		return nil
	}
	p := d.path("refs", filepath.FromSlash(revision))
	return d.store.within(filepath.Dir(p), func() error {
		return writeFile(p, []byte(commit))
	})
}

// revisions are the recorded revisions that mean a commit.
func (d Folder) revisions(commit string) []string {
	var out []string
	for _, name := range d.names("refs") {
		if d.CommitOf(name) == commit {
			out = append(out, name)
		}
	}
	return out
}

// names are the slash-separated paths of what is below a subfolder, which may not exist.
func (d Folder) names(sub ...string) []string {
	root := d.path(sub...)
	var out []string
	_ = filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil //nolint:nilerr // what cannot be read is not there
		}
		if name, err := filepath.Rel(root, p); err == nil {
			out = append(out, filepath.ToSlash(name))
		}
		return nil
	})
	return out
}

// OpenFile opens a file below the folder for reading and writing. It creates the file and
// its folder where needed. A partial file that it creates is recorded as ours.
func (d Folder) OpenFile(path string) (f *os.File, err error) {
	var created bool
	err = d.store.within(filepath.Dir(path), func() (err error) {
		created = !exists(path)
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = disk.ChmodFile(f, fileMode)
	if name, ok := strings.CutSuffix(filepath.Base(path), incomplete); ok && created && err == nil {
		err = d.changeRecord(func(r *record) { r.Partials[name] = true })
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// Tidy removes the folders that a failed fetch left empty. Removing a folder that is not
// empty fails, as it should.
func (d Folder) Tidy() {
	if exists(d.path(recordFile)) {
		_ = d.changeRecord(func(*record) {}) // a record of nothing goes too
	}
	// A file or revision in a subfolder makes more folders below these two.
	for _, sub := range []string{"snapshots", "refs"} {
		removeEmpty(d.path(sub))
	}
	for _, p := range []string{d.path("blobs"), d.path(), d.store.locks(d.name), d.store.locks("")} {
		_ = os.Remove(p)
	}
	if d.store.made.Load() {
		_ = os.Remove(d.store.dir)
	}
}

func removeEmpty(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.IsDir() {
			removeEmpty(filepath.Join(dir, e.Name()))
		}
	}
	_ = os.Remove(dir)
}
