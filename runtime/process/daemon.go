package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
)

// Daemon is a program to be started in the background.
type Daemon struct {
	// Name is what error messages call it; by default the name of its file.
	Name string
	// Path is the program's file, and Args its arguments without the program's name.
	Path string
	Args []string
	// Env is its environment as NAME=VALUE; nil means this process's environment. A
	// few variables are left out, see daemonEnv.
	Env []string
	// Log is the file to which its output is appended.
	Log string
	// Ready returns nil once the daemon answers.
	Ready func(context.Context) error
	// Timeout is how long it may take until it answers; 0 means one minute. Grace
	// is how long it may take to exit if it does not answer; 0 means 15 seconds.
	Timeout, Grace time.Duration
}

const (
	// poll is the pause between two looks at a process.
	poll = 50 * time.Millisecond

	defaultTimeout = time.Minute
	defaultGrace   = 15 * time.Second
)

// errExited is the cause if the daemon exits before it answers.
var errExited = errors.New("it exited before it answered")

// Start starts the daemon in a session of its own, without any open file of this
// process, and waits until it answers. The daemon outlives this process.
//
// If the daemon exits or does not answer in time, or if ctx ends first, Start ends
// it and its children. The error is then a fault.Machine with the last lines of the
// log, or the cause of ctx. If another daemon answers in its place, for which this
// one made way, Start returns no error and a process that has ended.
func (d Daemon) Start(ctx context.Context) (Process, error) {
	name := cmp.Or(d.Name, filepath.Base(d.Path))
	timeout := cmp.Or(d.Timeout, defaultTimeout)
	log, err := os.OpenFile(d.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o640)
	if err != nil {
		return Process{}, fault.New(fault.Machine, "cannot start "+name, err, "make "+d.Log+" writable")
	}
	defer log.Close()
	begin, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return Process{}, fmt.Errorf("read %s: %w", d.Log, err)
	}
	p, exited, err := d.spawn(log)
	if err != nil {
		return Process{}, fault.New(fault.Machine, "cannot start "+name, err, "check that "+d.Path+" is a program for this machine")
	}
	wait, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it did not answer within %v", timeout))
	defer cancel()
	if err = d.await(wait, exited); err == nil {
		return p, nil
	}
	// The caller's interruption must not leave a daemon behind.
	ended := p.End(context.WithoutCancel(ctx), cmp.Or(d.Grace, defaultGrace))
	p.killGroup() // also the children of a daemon that has exited
	if ctx.Err() != nil {
		return Process{}, fmt.Errorf("start %s: %w", name, errors.Join(context.Cause(ctx), ended))
	}
	return Process{}, fault.New(fault.Machine, "cannot start "+name, errors.Join(err, ended), "read "+d.Log).WithLines(lastLines(d.Log, begin))
}

// spawn starts the program with its output to log. It returns a channel that
// receives the result of the program once it exits.
func (d Daemon) spawn(log *os.File) (Process, chan error, error) {
	closeOnExec()
	cmd := exec.Command(d.Path, d.Args...) //nolint:noctx // It outlives every context of this process.
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = "/" // so that no file system is kept busy
	cmd.Env = daemonEnv(d.Env)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return Process{}, nil, err
	}
	// Even if it has exited, the kernel keeps the time of its start until Wait.
	s, _ := stat(cmd.Process.Pid)
	exited := make(chan error, 1)
	// A parent must ask for the exit status; after this process exits, init does.
	go func() { exited <- cmd.Wait() }()
	return Process{PID: cmd.Process.Pid, started: s.Started}, exited, nil
}

// await waits until the daemon answers, exits, or ctx ends.
func (d Daemon) await(ctx context.Context, exited <-chan error) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		if d.Ready(ctx) == nil {
			return nil
		}
		select {
		case err := <-exited:
			// Another process may have started the same daemon in the meantime.
			if d.Ready(ctx) == nil {
				return nil
			}
			if err == nil {
				return errExited
			}
			return fmt.Errorf("%w: %w", errExited, err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
