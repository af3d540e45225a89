package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/gofrs/flock"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/replica"
)

// claims are who may change a replica: its server, and its handoff. Processes of one
// user on one machine take turns by them. The container's name, which an engine
// gives once, keeps all others apart.
type claims interface {
	// Acquire waits for a replica's claim; busy is called once if there is a wait.
	Acquire(ctx context.Context, id replica.ID, busy func()) (release func(), err error)
	// Try is Acquire without a wait; a nil release means that somebody else has it.
	Try(id replica.ID) (release func(), err error)
}

// fileClaims are locks on files in a folder. A lock goes with its process, however
// that ends; the empty file stays.
type fileClaims struct{ dir string }

// claims are those of this user.
func (a *App) claims() claims {
	dir, err := a.CacheDir()
	if err == nil {
		dir = filepath.Join(dir, "locks")
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		// A user without a writable home still has turns to take.
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
	return fault.New(fault.Machine, "no lock can be taken in "+c.dir, fmt.Errorf("processes take turns by it: %w", err), "make the folder writable, or name another cache folder with LLORCH_CACHE_DIR")
}
