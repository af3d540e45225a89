package store

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// lockPoll is how often a process that waits for another's download looks again.
const lockPoll = 100 * time.Millisecond

func (s *Store) locks(folder string) string { return filepath.Join(s.dir, ".locks", folder) }

// Lock makes this process the only one that fetches a blob. Busy is called each time that
// another process is found to hold the lock. Release must be called.
func (d Folder) Lock(ctx context.Context, blob string, busy func()) (release func(), err error) {
	s := d.store
	p := filepath.Join(s.locks(d.name), blob+".lock")
	l := flock.New(p, flock.SetPermissions(fileMode))
	for {
		var got bool
		if err := s.within(filepath.Dir(p), func() (err error) { got, err = l.TryLock(); return err }); err != nil {
			return nil, &fs.PathError{Op: "lock", Path: p, Err: err}
		}
		if got {
			// Release removes the file, so the lock may have been won on a file that is
			// no longer there. Then another process may hold the new one.
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
