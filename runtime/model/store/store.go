package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gofrs/flock"

	"github.com/llorch/llorch-bk/runtime/model/disk"
	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// The modes let a container's unprivileged user read the store, whatever the umask.
const (
	dirMode  fs.FileMode = 0o755
	fileMode fs.FileMode = 0o644
)

// The beginnings of folder names, by kind of ref. The first is Hugging Face's own.
const (
	hubPrefix      = "models--"
	scopePrefix    = "modelscope--"
	webPrefix      = "urls--"
	registryPrefix = "oci--"
)

// Store is a folder of models in Hugging Face cache layout. Any number of processes may
// use one at the same time.
type Store struct {
	dir string
	// made says that this process created dir, and so may remove it again.
	made atomic.Bool
	// locksElsewhere says that the file system has no locks, so that they are in a folder
	// of this machine.
	locksElsewhere atomic.Bool
	// headers are what isCut found, by looked.
	headers sync.Map
	// symlink makes a symlink; os.Symlink, except in tests.
	symlink func(target, path string) error

	mu sync.Mutex
	// held are the files that Hold keeps, by path.
	held map[string]*flock.Flock
	// noLinks is what Copies found out, once linksKnown is set.
	noLinks, linksKnown bool
}

// Open returns the store in dir. The folder need not exist: the first fetch creates it,
// so that a failed one leaves nothing.
func Open(dir string) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("model store's folder: %w", err)
	}
	return &Store{dir: abs, symlink: os.Symlink}, nil
}

// Dir is the store's absolute folder.
func (s *Store) Dir() string { return s.dir }

// Folder is the folder of a ref's model, whatever its revision and file. A ref of a
// user's own file has none, and gets the zero name.
func (s *Store) Folder(r ref.Ref) Folder {
	switch r.Kind {
	case ref.Hub:
		// Two sites can have different repositories of one name.
		prefix := hubPrefix
		if r.Site == ref.ModelScope {
			prefix = scopePrefix
		}
		return Folder{s, prefix + strings.ReplaceAll(r.Repo, "/", "--")}
	case ref.HTTP:
		return Folder{s, webPrefix + short(r.URL) + "--" + r.BaseName()}
	case ref.Registry:
		return Folder{s, registryPrefix + short(r.Repo) + "--" + r.BaseName()}
	case ref.File:
	}
	return Folder{store: s}
}

// short tells addresses apart in folder names.
func short(address string) string {
	sum := sha256.Sum256([]byte(address))
	return hex.EncodeToString(sum[:6])
}

// folders are all models' folders, by name.
func (s *Store) folders() ([]Folder, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the model store: %w", err)
	}
	var out []Folder
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		for _, prefix := range []string{hubPrefix, scopePrefix, webPrefix, registryPrefix} {
			if strings.HasPrefix(e.Name(), prefix) {
				out = append(out, Folder{s, e.Name()})
			}
		}
	}
	return out, nil
}

// within runs do in a folder of the store, which it creates where needed. It does so
// again where another process removed the empty folder in between.
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

// mkdirs creates a folder at or below the store's own. The folders above the store are
// the user's: for them the umask decides.
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
	return disk.Chmod(dir, dirMode)
}
