package builder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/gofrs/flock"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/buildkit"
)

const (
	// socketMax is the longest path of a unix socket on Linux, in bytes.
	socketMax = 107
	// lockPoll is the pause between two attempts to get a lock.
	lockPoll = 100 * time.Millisecond

	noDaemon = "no builder can be started as a process"
)

// dialDaemon connects to a daemon that runs.
func (m Manager) dialDaemon(ctx context.Context) (*buildkit.Builder, error) {
	if m.Dir == "" {
		return nil, errors.New("no folder")
	}
	if _, err := os.Stat(m.socket()); err != nil {
		return nil, err
	}
	// A daemon that was killed leaves its socket behind. To a socket at which nobody
	// listens BuildKit's client would try to connect again and again.
	c, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", m.socket())
	if err != nil {
		return nil, err
	}
	c.Close()
	b, err := buildkit.Dial(ctx, "unix://"+m.socket(), nil, buildkit.TLS{})
	if err != nil {
		return nil, err
	}
	b.Managed = true
	return b, nil
}

// openDaemon starts BuildKit's daemon, unless another command has just done so.
func (m Manager) openDaemon(ctx context.Context) (*buildkit.Builder, error) {
	if err := m.canRunDaemon(); err != nil {
		return nil, err
	}
	// 0700: whoever may use the builder's socket is root on this machine.
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		return nil, fault.New(fault.Machine, noDaemon, err, "name another folder with LLORCH_CACHE_DIR")
	}
	unlock, err := m.lock(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", noDaemon, err)
	}
	defer unlock()
	if b, err := m.dialDaemon(ctx); err == nil {
		return b, nil
	}
	if !hasRunc() {
		return nil, fault.New(fault.Machine, noDaemon, errors.New("runc is not installed"), "install it: apt-get install runc")
	}
	program, err := m.Locate(ctx)
	if err != nil {
		return nil, err
	}
	m.notice("start a builder in the background: " + program)
	argv := []string{
		program, "--addr", "unix://" + m.socket(), "--root", m.root(),
		"--containerd-worker=false", "--oci-worker=true", "--oci-worker-gc=true", budget(),
	}
	var b *buildkit.Builder
	err = m.Daemons.Start(ctx, argv, append(os.Environ(), m.Env...), filepath.Join(m.Dir, "log"), func(ctx context.Context) (err error) {
		b, err = m.dialDaemon(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// canRunDaemon is nil if a daemon can run here as far as that is known without a try.
func (m Manager) canRunDaemon() error {
	switch {
	case runtime.GOOS != "linux":
		return fault.New(fault.Machine, noDaemon, errors.New("it needs Linux"), nameAnother)
	case os.Geteuid() != 0:
		return fault.New(fault.Machine, noDaemon, errors.New("it needs root"), nameAnother)
	case len(m.socket()) > socketMax:
		return fault.New(fault.Machine, noDaemon,
			fmt.Errorf("the path of its socket is longer than %d bytes: %s", socketMax, m.socket()), "name a shorter folder with LLORCH_CACHE_DIR")
	}
	return nil
}

// hasRunc reports whether the program with which a daemon starts containers is found,
// by either of its two names.
func hasRunc() bool {
	for _, name := range []string{"buildkit-runc", "runc"} {
		if _, err := exec.LookPath(name); err == nil {
			return true
		}
	}
	return false
}

// lock keeps two commands from starting or removing the daemon at the same time.
func (m Manager) lock(ctx context.Context) (unlock func(), err error) {
	lock := flock.New(m.lockFile())
	if _, err := lock.TryLockContext(ctx, lockPoll); ctx.Err() != nil {
		return nil, context.Cause(ctx)
	} else if err != nil {
		return nil, err
	}
	// The lock's file stays: others may wait for it.
	return func() { _ = lock.Unlock() }, nil
}

// daemonState describes the daemon; ok is false if there is none and none left a cache.
func (m Manager) daemonState(ctx context.Context) (s State, ok bool) {
	if _, err := os.Stat(m.root()); err != nil {
		return State{}, false
	}
	s = State{Kind: KindProcess, Where: m.Dir}
	if b, err := m.dialDaemon(ctx); err == nil {
		defer b.Close()
		s.Running = true
		s.Bytes, _ = b.CacheSize(ctx)
	}
	return s, true
}

// removeDaemon ends the daemon and removes its folder.
func (m Manager) removeDaemon(ctx context.Context) error {
	unlock, err := m.lock(ctx)
	if err != nil {
		return fmt.Errorf("the builder cannot be removed: %w", err)
	}
	defer unlock()
	if err := m.Daemons.EndListener(ctx, m.socket(), patience); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("the builder was not removed: %w", err)
		}
		return fault.New(fault.Machine, "the builder cannot be ended", err, "end its process yourself, and repeat the command")
	}
	m.Daemons.Unmount(m.Dir)
	if err := os.RemoveAll(m.Dir); err != nil {
		return fault.New(fault.Unexpected, "the builder's folder cannot be removed", err, "check whether a process still uses "+m.Dir)
	}
	return nil
}

// both joins why neither kind of builder could be started.
func both(daemon, container error) error {
	return fmt.Errorf("as a process: %w; in a container: %w", daemon, container)
}
