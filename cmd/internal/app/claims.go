package app

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/gofrs/flock"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/replica"
)

// claims are locks for replicas: the holder may change the replica's server and its
// handoff. They serialise the processes of one user on one machine. Other processes are
// kept apart by the container's name, which an engine gives only once.
type claims interface {
	// Acquire waits for a replica's lock; it calls busy once if it has to wait.
	Acquire(ctx context.Context, id replica.ID, busy func()) (release func(), err error)
	// Try does not wait; a nil release means that another process holds the lock.
	Try(id replica.ID) (release func(), err error)
}

// fileClaims are locks on files in a folder. The kernel releases a lock when its process
// ends; the empty file stays.
type fileClaims struct{ dir string }

// claims returns the locks of this user.
func (a *App) claims() claims {
	dir, err := a.CacheDir()
	if err == nil {
		dir = filepath.Join(dir, "locks")
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		// Users without a writable home need locks too.
		dir = filepath.Join(os.TempDir(), "llorch-bk-locks-"+strconv.Itoa(os.Getuid()))
	}
	return fileClaims{dir}
}

func (c fileClaims) lock(id replica.ID) (*flock.Flock, error) {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, c.broken(err)
	}
	return flock.New(filepath.Join(c.dir, id.Name()+".lock")), nil
}

func (c fileClaims) Acquire(ctx context.Context, id replica.ID, busy func()) (func(), error) {
	l, err := c.lock(id)
	if err != nil {
		return nil, err
	}
	got, err := l.TryLock()
	if err == nil && !got {
		busy()
		_, err = l.TryLockContext(ctx, 50*time.Millisecond)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, c.broken(err)
	}
	return func() { _ = l.Unlock() }, nil
}

func (c fileClaims) Try(id replica.ID) (func(), error) {
	l, err := c.lock(id)
	if err != nil {
		return nil, err
	}
	got, err := l.TryLock()
	if err != nil {
		return nil, c.broken(err)
	}
	if !got {
		return nil, nil
	}
	return func() { _ = l.Unlock() }, nil
}

func (c fileClaims) broken(err error) error {
	return fault.New(fault.Machine, "cannot lock a file in "+c.dir, err, diskAdvice(c.dir, otherCache, err))
}
