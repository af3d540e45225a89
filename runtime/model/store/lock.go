package store

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/gofrs/flock"
)

// lockPoll is how often a process that waits for another's download looks again.
const lockPoll = 100 * time.Millisecond

func (s *Store) locks(folder string) string {
	if s.locksElsewhere.Load() {
		return filepath.Join(os.TempDir(), "llorch-bk-locks-"+strconv.Itoa(os.Getuid()), short(s.dir), folder)
	}
	return filepath.Join(s.dir, ".locks", folder)
}

// lockFile is the file that is locked while a blob is fetched.
func (d Folder) lockFile(blob string) string {
	return filepath.Join(d.store.locks(d.name), blob+".lock")
}

// Lock makes this process the only one that fetches a blob. Busy is called each time that
// another process is found to hold the lock. Release must be called.
func (d Folder) Lock(ctx context.Context, blob string, busy func()) (release func(), err error) {
	for {
		release, got, err := d.tryLock(blob)
		if err != nil || got {
			return release, err
		}
		busy()
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(lockPoll):
		}
	}
}

// tryLock is Lock without the wait: it is false where another process has the lock.
func (d Folder) tryLock(blob string) (release func(), ok bool, err error) {
	for {
		p := d.lockFile(blob)
		l := flock.New(p, flock.SetPermissions(fileMode))
		var got bool
		err := d.store.within(filepath.Dir(p), func() (err error) { got, err = l.TryLock(); return err })
		switch {
		case noLocks(err) && !d.store.locksElsewhere.Swap(true):
			// Processes of this machine still take turns.
			_ = os.Remove(p)
			_ = os.Remove(filepath.Dir(p))
			_ = os.Remove(filepath.Dir(filepath.Dir(p)))
			continue
		case err != nil:
			return nil, false, &fs.PathError{Op: "lock", Path: p, Err: err}
		case !got:
			return nil, false, nil
		case isCurrent(l):
			return func() { d.release(l) }, true, nil
		}
		_ = l.Unlock()
	}
}

// isCurrent reports whether a lock was won on the file that is there now. Release removes
// the file, so another process may hold the lock on a new one.
func isCurrent(l *flock.Flock) bool {
	held, err1 := l.Stat()
	now, err2 := os.Stat(l.Path())
	return err1 == nil && err2 == nil && os.SameFile(held, now)
}

// release removes a lock's file while it is locked, and the folders that this leaves empty.
func (d Folder) release(l *flock.Flock) {
	_ = os.Remove(l.Path())
	_ = l.Unlock()
	_ = os.Remove(filepath.Dir(l.Path()))
	_ = os.Remove(d.store.locks(""))
}

// RemoveStaleLock removes the lock file of a process that was killed after its blob was
// whole. A lock that a process holds stays.
func (d Folder) RemoveStaleLock(blob string) {
	p := d.lockFile(blob)
	if _, err := os.Stat(p); err != nil {
		return
	}
	l := flock.New(p, flock.SetPermissions(fileMode))
	got, err := l.TryLock()
	switch {
	case err != nil || !got:
	case isCurrent(l):
		d.release(l)
	default:
		_ = l.Unlock()
	}
}
