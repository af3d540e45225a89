package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llorch/llorch-bk/images/fault"
)

// TestMain lets the test's own binary be the daemon.
func TestMain(m *testing.M) {
	if mode := os.Getenv("LLORCH_TEST_DAEMON"); mode != "" {
		os.Exit(fakeDaemon(mode, os.Getenv("LLORCH_TEST_DIR")))
	}
	os.Exit(m.Run())
}

func fakeDaemon(mode, dir string) int {
	if err := os.WriteFile(filepath.Join(dir, "pid"), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return 9
	}
	fmt.Println("starting up")
	switch mode {
	case "dies":
		if !startChild(dir) {
			return 9
		}
		fmt.Fprintln(os.Stderr, "failed to start: iptables not found")
		return 1
	case "with a child":
		if !startChild(dir) {
			return 9
		}
	case "silent":
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		<-stop
		return 0
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		select {}
	}
	socket, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		fmt.Println(err)
		return 2
	}
	fmt.Println("API listen on sock")
	_ = http.Serve(socket, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "OK") }))
	return 0
}

// startChild leaves a process behind that does not end by itself.
func startChild(dir string) bool {
	child := exec.Command("sleep", "1000")
	return child.Start() == nil && os.WriteFile(filepath.Join(dir, "child"), []byte(strconv.Itoa(child.Process.Pid)), 0o600) == nil
}

// fake is a daemon with a folder of its own, short enough for a socket's path.
func fake(t *testing.T, mode string) (Daemon, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "dd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, name := range []string{"pid", "child"} {
			if pid, err := pidIn(dir, name); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		os.RemoveAll(dir)
	})
	web := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, "sock"))
	}, DisableKeepAlives: true}}
	return Daemon{
		Path: self, Log: filepath.Join(dir, "log"), Timeout: 30 * time.Second, Grace: 10 * time.Second,
		Env: []string{"PATH=/usr/bin", "LLORCH_TEST_DAEMON=" + mode, "LLORCH_TEST_DIR=" + dir, "NOTIFY_SOCKET=/x"},
		Ready: func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/_ping", nil)
			if err != nil {
				return err
			}
			resp, err := web.Do(req)
			if err != nil {
				return err
			}
			return resp.Body.Close()
		},
	}, dir
}

func pidOf(dir string) (int, error) { return pidIn(dir, "pid") }

func pidIn(dir, name string) (int, error) {
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(raw))
}

func TestDaemonOutlivesAndHoldsNothing(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("looks at a process's descriptors in /proc, which this system does not have")
	}
	// An inheritable pipe, as make's job server leaves one in its children.
	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(pipe[0])
	d, dir := fake(t, "serves")
	if err := os.WriteFile(d.Log, []byte("an earlier run's line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := d.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pid, err := pidOf(dir)
	if err == nil && (pid != p.PID || !p.Runs()) {
		t.Errorf("it says %+v of the process %d", p, pid)
	}
	if err != nil {
		t.Fatal(err)
	}
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("its session is %d (%v), want its own %d", sid, err, pid)
	}
	if cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); cwd != "/" {
		t.Errorf("it holds the folder %s", cwd)
	}
	for fd, want := range map[string]string{"0": "/dev/null", "1": d.Log, "2": d.Log} {
		if got, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd)); got != want {
			t.Errorf("descriptor %s is %s, want %s", fd, got, want)
		}
	}
	env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if !strings.Contains(string(env), "\x00PATH=/usr/bin:") || !strings.Contains(string(env), ":/usr/sbin:/usr/bin:/sbin:/bin\x00") || strings.Contains(string(env), "NOTIFY_SOCKET") {
		t.Errorf("its environment is %q", env)
	}
	// With our end closed, the pipe ends unless the daemon has one too.
	syscall.Close(pipe[1])
	if err := syscall.SetNonblock(pipe[0], true); err != nil {
		t.Fatal(err)
	}
	if n, err := syscall.Read(pipe[0], make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("the daemon holds this process's pipe: %v", err)
	}
	if log, _ := os.ReadFile(d.Log); !strings.HasPrefix(string(log), "an earlier run's line\nstarting up\n") {
		t.Errorf("its log is %q", log)
	}
}

func TestDaemonThatDies(t *testing.T) {
	t.Parallel()
	d, dir := fake(t, "dies")
	if err := os.WriteFile(d.Log, []byte("an earlier run's line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	_, err := d.Start(t.Context())
	var f *fault.Fault
	if !errors.As(err, &f) || f.Class != fault.Machine || !errors.Is(err, errExited) {
		t.Fatalf("got %v, want a fault of the machine", err)
	}
	if want := []string{"starting up", "failed to start: iptables not found"}; !slices.Equal(f.Lines, want) {
		t.Errorf("last lines are %q, want %q", f.Lines, want)
	}
	if took := time.Since(begun); took > d.Timeout/2 {
		t.Errorf("it took %v to see that it died", took)
	}
	child, err := pidIn(dir, "child")
	if err != nil {
		t.Fatal(err)
	}
	endsSoon(t, child)
}

func TestDaemonThatNeverAnswers(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"silent", "stubborn"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			d, dir := fake(t, mode)
			d.Grace = 500 * time.Millisecond
			d.Timeout = 2 * time.Second
			_, err := d.Start(t.Context())
			if fault.ClassOf(err) != fault.Machine || !strings.Contains(err.Error(), "did not answer within 2s") {
				t.Errorf("got %v", err)
			}
			gone(t, dir)
		})
	}
}

func TestDaemonInterrupted(t *testing.T) {
	t.Parallel()
	d, dir := fake(t, "silent")
	ctx, interrupt := context.WithCancel(t.Context())
	d.Ready = func(context.Context) error {
		if _, err := pidOf(dir); err == nil {
			interrupt()
		}
		return io.EOF
	}
	if _, err := d.Start(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the interruption", err)
	}
	gone(t, dir)
}

// gone checks that the daemon has ended.
func gone(t *testing.T, dir string) {
	t.Helper()
	pid, err := pidOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Find(pid); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("process %d still runs: %v", pid, err)
	}
}
