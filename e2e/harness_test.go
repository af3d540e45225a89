package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/runtime/handoff"
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "llorch-e2e-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "llorch-bk")
	build := exec.Command("go", "build", "-o", binary, "../cmd/llorch-bk")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "the program does not build:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// gate skips a test of a tier that is not enabled.
func gate(t *testing.T, name, tier string) {
	t.Helper()
	if os.Getenv(name) != "1" {
		t.Skipf("the %s tier is off: set %s=1", tier, name)
	}
}

// project is a folder with its own pools, like one user's project.
type project struct {
	t   *testing.T
	dir string
	env []string
	api *client.Client
}

func newProject(t *testing.T) *project {
	t.Helper()
	api, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	p := &project{t: t, dir: t.TempDir(), api: api}
	p.env = append(os.Environ(), "LLORCH_MODEL_DIR="+t.TempDir(), "NO_COLOR=1")
	t.Cleanup(func() {
		r := p.run("stop", "--all", "--grace", "1s")
		if r.code != 0 {
			t.Errorf("clean-up: stop --all: %s", r)
		}
		if left := p.containers(); len(left) > 0 {
			t.Errorf("clean-up left containers behind: %v", left)
		}
		api.Close()
	})
	return p
}

// setenv sets a variable for the program in this project only.
func (p *project) setenv(name, value string) { p.env = append(p.env, name+"="+value) }

// result is the result of a command of the program.
type result struct {
	args           []string
	stdout, stderr string
	code           int
	took           time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("llorch-bk %s: exit %d after %.1fs\n--- stdout\n%s--- stderr\n%s", strings.Join(r.args, " "), r.code, r.took.Seconds(), r.stdout, tail(r.stderr, 60))
}

func tail(s string, n int) string {
	lines := strings.SplitAfter(s, "\n")
	if len(lines) > n {
		lines = append([]string{"...\n"}, lines[len(lines)-n:]...)
	}
	return strings.Join(lines, "")
}

// started is a running command.
type started struct {
	p              *project
	cmd            *exec.Cmd
	stdout, stderr *watched
	began          time.Time
}

// start starts a command without waiting for it.
func (p *project) start(args ...string) *started {
	p.t.Helper()
	s := &started{p: p, cmd: exec.Command(binary, args...), stdout: newWatched(), stderr: newWatched(), began: time.Now()}
	s.cmd.Dir, s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = p.dir, p.env, s.stdout, s.stderr
	// A process group of its own: a signal to the test is not one to it.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	return s
}

// wait returns the command's result, and fails the test if it does not end.
func (s *started) wait() result {
	s.p.t.Helper()
	timer := time.AfterFunc(30*time.Minute, func() { _ = s.cmd.Process.Kill() })
	defer timer.Stop()
	err := s.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.p.t.Fatal(err)
	}
	return result{args: s.cmd.Args[1:], stdout: s.stdout.String(), stderr: s.stderr.String(), code: s.cmd.ProcessState.ExitCode(), took: time.Since(s.began)}
}

// interrupt is the user's Ctrl-C.
func (s *started) interrupt() {
	s.p.t.Helper()
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		s.p.t.Fatal(err)
	}
}

func (p *project) run(args ...string) result {
	p.t.Helper()
	return p.start(args...).wait()
}

// must runs a command and fails the test if it fails.
func (p *project) must(args ...string) result {
	p.t.Helper()
	r := p.run(args...)
	if r.code != 0 {
		p.t.Fatalf("%s", r)
	}
	return r
}

// wants checks a failure: its exit code, and texts that the user must see.
func (r result) wants(t *testing.T, code int, words ...string) {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit code %d, want %d\n%s", r.code, code, r)
	}
	for _, w := range words {
		if !strings.Contains(r.stderr, w) {
			t.Errorf("the message lacks %q\n%s", w, r)
		}
	}
}

// handoffDir is the folder of the project's handoffs.
func (p *project) handoffDir() string { return filepath.Join(p.dir, ".runtime", "engines") }

// handoff reads the handoff of a pool's first replica.
func (p *project) handoff(pool string) (handoff.Handoff, bool) {
	p.t.Helper()
	h, err := handoff.Read(filepath.Join(p.handoffDir(), handoff.FileName(pool, "r0")))
	if errors.Is(err, os.ErrNotExist) {
		return h, false
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return h, true
}

// containers are the names of the project's containers, running or not.
func (p *project) containers() []string {
	p.t.Helper()
	list, err := p.api.ContainerList(context.Background(), container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", "dev.llorch.project="+p.handoffDir()))})
	if err != nil {
		p.t.Fatal(err)
	}
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = strings.TrimPrefix(c.Names[0], "/")
	}
	return names
}

// leftNothing checks that a failed command left neither container nor handoff.
func (p *project) leftNothing() {
	p.t.Helper()
	if left := p.containers(); len(left) > 0 {
		p.t.Errorf("containers were left behind: %v", left)
	}
	if files, _ := os.ReadDir(p.handoffDir()); len(files) > 0 {
		p.t.Errorf("the handoff folder was left with %v", files)
	}
}

// get asks a server and returns status and body.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	return answer(t, http.MethodGet, url, nil)
}

func answer(t *testing.T, method, url string, body any) (int, string) {
	t.Helper()
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		in = bytes.NewReader(b)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, in)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// eventually waits for a condition; what describes it in a failure.
func eventually(t *testing.T, what string, within time.Duration, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %s", within, what)
		case <-tick.C:
		}
	}
}
