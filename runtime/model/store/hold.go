package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"
)

// ErrInUse means that another process uses a file that was to be removed.
var ErrInUse = errors.New("another llorch-bk process uses it")

// Hold keeps a file of the store from being removed by another process until Release: a
// run has found its model, and no container shows yet that it is used. The file itself is
// locked, shared with whoever else holds it. A file system without locks holds nothing.
func (s *Store) Hold(ctx context.Context, path string) error {
	s.mu.Lock()
	held := s.held[path]
	s.mu.Unlock()
	if held != nil && isCurrent(held) {
		return nil
	}
	l := contentLock(path)
	for {
		got, err := l.TryRLock()
		switch {
		case noLocks(err):
			return nil
		case err != nil:
			return err
		case got && isCurrent(l):
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.held == nil {
				s.held = map[string]*flock.Flock{}
			}
			s.held[path] = l
			return nil
		case got: // the name is another file's now
			_ = l.Unlock()
			continue
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lockPoll):
		}
	}
}

// Release ends all holds of this Store.
func (s *Store) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.held {
		_ = l.Unlock()
	}
	s.held = nil
}

// contentLock is a lock on a file's content, whatever the names that it has. It does not
// create the file.
func contentLock(path string) *flock.Flock { return flock.New(path, flock.SetFlag(os.O_RDONLY)) }

// noLocks reports whether a lock failed because the file system has none.
func noLocks(err error) bool {
	return errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOLCK)
}

// claimPatience is how long a removal waits for a process that holds a file: as long as
// one that only looks takes.
const claimPatience = time.Second

// claim makes this process the only one that uses files, which it is going to remove. The
// error is ErrInUse where another one holds a file.
func (s *Store) claim(paths []string) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var claimed []*flock.Flock
	release = func() {
		for _, l := range claimed {
			_ = l.Unlock()
		}
	}
	seen := map[string]bool{}
	for _, p := range paths {
		// Two files can be one content, which is locked once.
		real, err := filepath.EvalSymlinks(p)
		if err != nil || seen[real] {
			continue // a link to nothing is nobody's
		}
		seen[real] = true
		for at, l := range s.held {
			if target, err := filepath.EvalSymlinks(at); err != nil || target == real {
				_ = l.Unlock()
				delete(s.held, at)
			}
		}
		l, err := claimOne(real)
		if err != nil {
			release()
			return nil, err
		}
		claimed = append(claimed, l)
	}
	return release, nil
}

func claimOne(path string) (*flock.Flock, error) {
	l := contentLock(path)
	for deadline := time.Now().Add(claimPatience); ; time.Sleep(lockPoll) {
		got, err := l.TryLock()
		switch {
		case got, noLocks(err), errors.Is(err, unix.EBADF), errors.Is(err, fs.ErrNotExist):
			return l, nil
		case err != nil:
			return nil, err
		case time.Now().After(deadline):
			return nil, ErrInUse
		}
	}
}
