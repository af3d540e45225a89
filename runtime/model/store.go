package model

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
)

// What a container's unprivileged user must be able to read, whatever the umask.
const (
	dirMode  fs.FileMode = 0o755
	fileMode fs.FileMode = 0o644
)

// lockPoll is how often a process that waits for another's download looks again.
const lockPoll = 100 * time.Millisecond

// Store is a folder of models in Hugging Face cache layout. Any number of
// processes may use one at the same time.
type Store struct {
	dir string
	// made says that this process created dir, and so may remove it again.
	made atomic.Bool
}

// Open gives the store in dir, which need not exist: it is created by the first
// fetch, so that a failed one leaves nothing.
func Open(dir string) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("model store's folder: %w", err)
	}
	return &Store{dir: abs}, nil
}

// Dir is the store's absolute folder.
func (s *Store) Dir() string { return s.dir }

// folder is one model's folder in the store.
type folder struct {
	store *Store
	name  string
}

func (s *Store) hubFolder(repo string) folder {
	return folder{s, "models--" + strings.ReplaceAll(repo, "/", "--")}
}

func (s *Store) webFolder(address, base string) folder {
	sum := sha256.Sum256([]byte(address))
	return folder{s, "urls--" + hex.EncodeToString(sum[:6]) + "--" + base}
}

func (s *Store) registryFolder(repo string) folder {
	sum := sha256.Sum256([]byte(repo))
	return folder{s, registryPrefix + hex.EncodeToString(sum[:6]) + "--" + registryName(repo)}
}

func (d folder) path(parts ...string) string {
	return filepath.Join(append([]string{d.store.dir, d.name}, parts...)...)
}

func (d folder) blob(name string) string       { return d.path("blobs", name) }
func (d folder) incomplete(name string) string { return d.blob(name) + ".incomplete" }

// snapshotRel is a file's path inside the model's folder.
func snapshotRel(commit, file string) string {
	return filepath.Join("snapshots", commit, filepath.FromSlash(file))
}

// stored gives the blob that a snapshot's file is, and false where the store
// does not have that file whole.
func (d folder) stored(commit, file string) (blob string, size int64, ok bool) {
	if commit == "" {
		return "", 0, false
	}
	link := d.path(snapshotRel(commit, file))
	target, err := os.Readlink(link)
	if err != nil {
		return "", 0, false
	}
	info, err := os.Stat(link)
	if err != nil || !info.Mode().IsRegular() {
		return "", 0, false
	}
	return filepath.Base(target), info.Size(), true
}

// files are the slash-separated paths of what the store has whole of a commit.
func (d folder) files(commit string) []string {
	if commit == "" {
		return nil
	}
	root := d.path("snapshots", commit)
	var out []string
	_ = filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil //nolint:nilerr // what cannot be read is not there
		}
		if rel, err := filepath.Rel(root, p); err == nil {
			if file := filepath.ToSlash(rel); file != "" {
				if _, _, ok := d.stored(commit, file); ok {
					out = append(out, file)
				}
			}
		}
		return nil
	})
	return out
}

// hasBlob says whether the content is there, under whatever file name.
func (d folder) hasBlob(name string) bool {
	info, err := os.Stat(d.blob(name))
	return name != "" && err == nil && info.Mode().IsRegular()
}

// commitOf is the commit that a revision last meant, empty where none is known.
func (d folder) commitOf(revision string) string {
	if hex40.MatchString(revision) || hex64.MatchString(revision) {
		return revision
	}
	b, err := os.ReadFile(d.path("refs", filepath.FromSlash(revision)))
	c := strings.TrimSpace(string(b))
	if err != nil || !isName(c) {
		return ""
	}
	return c
}

// setRef records what a revision means now. A full commit means itself.
func (d folder) setRef(revision, commit string) error {
	if revision == commit || d.commitOf(revision) == commit {
		return nil
	}
	p := d.path("refs", filepath.FromSlash(revision))
	return d.store.within(filepath.Dir(p), func() error {
		return renameio.WriteFile(p, []byte(commit), fileMode, renameio.WithStaticPermissions(fileMode))
	})
}

// link makes a snapshot's file point at a blob, by a relative symlink that holds
// wherever the model's folder is mounted.
func (d folder) link(commit, file, blob string) error {
	rel := snapshotRel(commit, file)
	target := filepath.FromSlash(strings.Repeat("../", strings.Count(filepath.ToSlash(rel), "/")) + path.Join("blobs", blob))
	p := d.path(rel)
	if old, err := os.Readlink(p); err == nil && old == target {
		return nil
	}
	return d.store.within(filepath.Dir(p), func() error { return renameio.Symlink(target, p) })
}

// tidy removes the folders that a failed fetch left empty. Removing a folder
// that has something in it fails, which is what is wanted.
func (d folder) tidy() {
	// A nested file or revision makes folders of its own below these two.
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

func (s *Store) locks(folder string) string { return filepath.Join(s.dir, ".locks", folder) }

// within does something in a folder of the store that may have to be created,
// and again where another process's tidying took the folder away in between.
func (s *Store) within(dir string, do func() error) error {
	var err error
	for range 5 {
		if err = s.mkdirs(dir); err == nil {
			err = do()
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

// mkdirs creates a folder at or below the store's own. What lies above the
// store is the user's, so there the umask rules.
func (s *Store) mkdirs(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: fs.ErrExist}
		}
		return nil
	}
	if dir == s.dir {
		if err := os.MkdirAll(filepath.Dir(dir), 0o777); err != nil {
			return err
		}
	} else if err := s.mkdirs(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, dirMode); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	if dir == s.dir {
		s.made.Store(true)
	}
	return os.Chmod(dir, dirMode)
}

// lock makes this process the only one that fetches a blob. Busy is called at
// each look that finds another process at it. Release must be called.
func (s *Store) lock(ctx context.Context, d folder, blob string, busy func()) (release func(), err error) {
	p := filepath.Join(s.locks(d.name), blob+".lock")
	l := flock.New(p, flock.SetPermissions(fileMode))
	for {
		var got bool
		if err := s.within(filepath.Dir(p), func() (err error) { got, err = l.TryLock(); return err }); err != nil {
			return nil, &fs.PathError{Op: "lock", Path: p, Err: err}
		}
		if got {
			// Release removes the file, so a lock may have been won on a file
			// that is no longer there: then somebody else may hold the new one.
			held, err1 := l.Stat()
			now, err2 := os.Stat(p)
			if err1 == nil && err2 == nil && os.SameFile(held, now) {
				return func() {
					_ = os.Remove(p)
					_ = l.Unlock()
					_ = os.Remove(filepath.Dir(p))
					_ = os.Remove(s.locks(""))
				}, nil
			}
			_ = l.Unlock()
			continue
		}
		busy()
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(lockPoll):
		}
	}
}

// isName says whether a word from outside may be a file name in the store.
func isName(s string) bool {
	if s == "" || len(s) > 128 || strings.HasPrefix(s, ".") {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("._-+", r)
	})
}
