package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Process identifies one process of this machine.
type Process struct {
	// PID is its process ID. It can belong to another process once this one ended.
	PID int
	// started is the time of its start in the kernel's ticks since boot; 0 on a
	// system that does not provide it.
	started uint64
}

// killTimeout is how long a process may take to end after SIGKILL.
const killTimeout = 10 * time.Second

// Find identifies the process that has a PID now. The error is os.ErrProcessDone if
// there is none, or if it has ended and only its exit status is left.
func Find(pid int) (Process, error) {
	s, err := stat(pid)
	if err == nil && s.Ended {
		err = os.ErrProcessDone
	}
	return Process{PID: pid, started: s.Started}, err
}

// Runs reports whether the process still runs. A later process with the same PID
// does not count.
func (p Process) Runs() bool {
	now, err := Find(p.PID)
	return err == nil && now == p
}

// End asks the process to end (SIGTERM) and waits until it has. After grace, End
// kills it. Children of the process that are still in its process group are killed
// too. A process that has ended already is left as it is, without an error. If ctx ends
// first, End returns its cause, and the process may still run.
func (p Process) End(ctx context.Context, grace time.Duration) error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return p.failed(err)
	}
	switch err := p.wait(ctx, grace); {
	case errors.Is(err, errStillRuns):
		return p.Kill(ctx)
	case err != nil:
		return p.failed(err)
	}
	p.killGroup()
	return nil
}

// Kill ends the process and its process group at once (SIGKILL) and waits until the
// process has ended.
func (p Process) Kill(ctx context.Context) error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return p.failed(err)
	}
	p.killGroup()
	return p.failed(p.wait(ctx, killTimeout))
}

func (p Process) failed(err error) error {
	if err == nil || errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return fmt.Errorf("end process %d: %w", p.PID, err)
}

// signal sends a signal to this process, never to a later one with the same PID:
// where the kernel has process descriptors, os.FindProcess holds one, so that the
// process that Runs looked at is the one that gets the signal.
func (p Process) signal(sig syscall.Signal) error {
	handle, err := os.FindProcess(p.PID)
	if err != nil {
		return err
	}
	defer func() { _ = handle.Release() }()
	if !p.Runs() {
		return os.ErrProcessDone
	}
	return handle.Signal(sig)
}

// killGroup kills what is left of the group that the process leads. The kernel does
// not reuse a PID while a group has its number, so a later process with this PID
// means that the group is gone.
func (p Process) killGroup() {
	// To the kernel, -0 is this process's own group and -1 is every process.
	if p.PID <= 1 {
		return
	}
	if now, err := stat(p.PID); err == nil && now.Started != p.started {
		return
	}
	// A process that leads no group has none that could be killed by its number.
	_ = syscall.Kill(-p.PID, syscall.SIGKILL)
}

var errStillRuns = errors.New("it still runs")

// wait waits until the process has ended. The error is errStillRuns after timeout.
func (p Process) wait(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errStillRuns)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for p.Runs() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}
