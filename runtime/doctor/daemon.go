package doctor

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
)

// Daemon is a program that is started in the background, for machines without
// an init that would.
type Daemon struct {
	// Name is what a person calls it; empty means the engine.
	Name string
	// Path is the program, and Args its arguments.
	Path string
	Args []string
	// Env is its environment, proxies included; nil means this process's own.
	Env []string
	// Log is the file that its output is appended to.
	Log string
	// Ready gives nil once the daemon answers.
	Ready func(context.Context) error
	// Timeout is how long it may take to answer; zero means a minute. Grace is
	// how long it may take to stop when it does not; zero means 15 seconds.
	Timeout, Grace time.Duration
}

// logLines is how many of a daemon's last lines a failure shows.
const logLines = 20

// Start runs the daemon in a session of its own, with nothing of this
// process's open, and waits until it answers. It outlives this process. When
// it dies, does not answer in time, or ctx ends first, nothing of it is left
// running and the error has its last lines.
func (d Daemon) Start(ctx context.Context) error {
	name := cmp.Or(d.Name, "the engine")
	timeout := d.Timeout
	if timeout == 0 {
		timeout = time.Minute
	}
	log, err := os.OpenFile(d.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o640)
	if err != nil {
		return fault.New(fault.Machine, "cannot start "+name, err, "make "+d.Log+" writable")
	}
	defer log.Close()
	begin, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("read %s: %w", d.Log, err)
	}
	seal()
	cmd := exec.Command(d.Path, d.Args...) //nolint:noctx // It outlives every context of ours.
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = "/"
	cmd.Env = daemonEnv(d.Env)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fault.New(fault.Machine, "cannot start "+name, err, "see that "+d.Path+" is whole")
	}
	// Someone has to ask for its exit status for as long as we live; after
	// that the system's init does.
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()

	wait, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it did not answer within %v", timeout))
	defer cancel()
	err = d.await(wait, exited)
	if err == nil {
		return nil
	}
	d.end(cmd.Process.Pid, exited)
	if ctx.Err() != nil {
		return fmt.Errorf("start %s: %w", name, context.Cause(ctx))
	}
	return fault.New(fault.Machine, "cannot start "+name, err, "read all of "+d.Log).WithLines(lastLogLines(d.Log, begin))
}

// errExited is why a daemon that died is not waited for.
var errExited = errors.New("it ended at once")

func (d Daemon) await(ctx context.Context, exited chan error) error {
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	for {
		if d.Ready(ctx) == nil {
			return nil
		}
		select {
		case err := <-exited:
			exited <- err
			// Another process may have started one in the meantime, for which
			// ours made way.
			if d.Ready(ctx) == nil {
				return nil
			}
			if err == nil {
				return errExited
			}
			return fmt.Errorf("%w: %w", errExited, err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-poll.C:
		}
	}
}

// end stops the daemon and its children: it leads their session's group.
func (d Daemon) end(pid int, exited <-chan error) {
	grace := d.Grace
	if grace == 0 {
		grace = 15 * time.Second
	}
	_ = syscall.Kill(pid, syscall.SIGTERM) // One that is gone is what is wanted.
	select {
	case <-exited: //nolint:errcheck // That it ended is enough.
	case <-time.After(grace):
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
}

// daemonEnv drops what was meant for this process alone, and adds the
// administrator's folders, where a daemon finds iptables and modprobe.
func daemonEnv(env []string) []string {
	if env == nil {
		env = os.Environ()
	}
	search := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	var kept []string
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		switch name {
		case "PATH":
			search = value + ":" + search
		case "TMPDIR", "NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "MAKEFLAGS", "MFLAGS", "PWD", "OLDPWD":
		default:
			kept = append(kept, kv)
		}
	}
	return append(kept, "PATH="+search)
}

// seal keeps a child from inheriting descriptors that this process itself
// inherited, such as make's job server or a CI job's pipes: a daemon that held
// one open would keep its reader waiting for ever. Go's own are closed anyway.
func seal() {
	for _, dir := range []string{"/proc/self/fd", "/dev/fd"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
				syscall.CloseOnExec(fd)
			}
		}
		return
	}
}

// lastLogLines are the last lines of a log from an offset on.
func lastLogLines(path string, begin int64) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	// A daemon that logs in a circle can have written a lot.
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		begin = max(begin, end-64<<10)
	}
	if _, err := f.Seek(begin, io.SeekStart); err != nil {
		return nil
	}
	raw, _ := io.ReadAll(f)
	var lines []string
	for line := range bytes.Lines(raw) {
		if text := strings.TrimRight(string(line), "\r\n"); text != "" {
			lines = append(lines, text)
		}
	}
	return slices.Clone(lines[max(0, len(lines)-logLines):])
}
