package process

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func TestEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode  string
		grace time.Duration
		end   func(context.Context, Process, time.Duration) error
	}{
		"asked to":                 {"serves", time.Minute, func(ctx context.Context, p Process, d time.Duration) error { return p.End(ctx, d) }},
		"killed after the grace":   {"deaf", 100 * time.Millisecond, func(ctx context.Context, p Process, d time.Duration) error { return p.End(ctx, d) }},
		"killed at once":           {"deaf", 0, func(ctx context.Context, p Process, _ time.Duration) error { return p.Kill(ctx) }},
		"with the children it has": {"with a child", time.Minute, func(ctx context.Context, p Process, d time.Duration) error { return p.End(ctx, d) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, dir := fake(t, c.mode)
			p, err := d.Start(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			if err := c.end(t.Context(), p, c.grace); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); took < c.grace/2 && c.mode == "deaf" {
				t.Errorf("it was killed after %v, and had %v", took, c.grace)
			}
			gone(t, dir)
			if err := errors.Join(p.End(t.Context(), 0), p.Kill(t.Context())); err != nil {
				t.Errorf("once more: %v", err)
			}
			if pid, err := pidIn(dir, "child"); err == nil {
				endsSoon(t, pid)
			} else if c.mode == "with a child" {
				t.Error(err)
			}
		})
	}
}

// endsSoon waits for a process that was killed and that another one waits for.
func endsSoon(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := Find(pid); err != nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d still runs", pid)
		}
	}
}

// Whoever has the PID of a process that ended is left alone.
func TestAnotherProcessWithThePID(t *testing.T) {
	t.Parallel()
	d, _ := fake(t, "serves")
	p, err := d.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if p.started == 0 {
		t.Skip("this system does not say when a process was started")
	}
	earlier := Process{PID: p.PID, started: p.started - 1}
	if earlier.Runs() {
		t.Error("the process that had the PID before counts as running")
	}
	if err := errors.Join(earlier.End(t.Context(), time.Minute), earlier.Kill(t.Context())); err != nil {
		t.Error(err)
	}
	if !p.Runs() {
		t.Error("the process that has the PID now was ended")
	}
}

// The zero value stands for no process. Its number would mean other processes to the
// kernel.
func TestNoProcess(t *testing.T) {
	t.Parallel()
	var none Process
	if none.Runs() {
		t.Error("it runs")
	}
	if err := errors.Join(none.End(t.Context(), time.Minute), none.Kill(t.Context())); err != nil {
		t.Error(err)
	}
	none.killGroup()
}

func TestEndInterrupted(t *testing.T) {
	t.Parallel()
	d, _ := fake(t, "deaf")
	p, err := d.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Kill(context.Background()) }()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("enough"))
	defer cancel()
	if err := p.End(ctx, time.Minute); err == nil || !strings.Contains(err.Error(), "enough") || !p.Runs() {
		t.Errorf("%v, runs: %v", err, p.Runs())
	}
}

func TestListener(t *testing.T) {
	t.Parallel()
	d, dir := fake(t, "serves")
	socket := filepath.Join(dir, "sock")
	for _, nobody := range []string{socket, filepath.Join(dir, "no", "folder"), filepath.Join(d.Path, "not a folder")} {
		if p, ok, err := Listener(t.Context(), nobody); ok || err != nil {
			t.Errorf("before anybody listens at %s: %+v, %v", nobody, p, err)
		}
	}
	p, err := d.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, ok, err := Listener(t.Context(), socket)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("this system does not say who listens at a socket")
	}
	if got != p || !ok || err != nil {
		t.Errorf("got %+v, %v, %v; want %+v", got, ok, err, p)
	}
	if err := p.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(socket); err != nil {
		t.Fatal("a killed daemon leaves its socket behind", err)
	}
	if p, ok, err := Listener(t.Context(), socket); ok || err != nil {
		t.Errorf("after it was killed: %+v, %v", p, err)
	}
	self, err := net.Listen("unix", filepath.Join(dir, "self"))
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	if p, ok, err := Listener(t.Context(), filepath.Join(dir, "self")); p.PID != os.Getpid() || !ok || err != nil {
		t.Errorf("this process listens: %+v, %v, %v", p, ok, err)
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	rest := " 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 123"
	for text, want := range map[string]Stat{
		"12 (dockerd) S" + rest:        {Name: "dockerd", Started: 4711},
		"12 (a (b) c) R" + rest + "\n": {Name: "a (b) c", Started: 4711},
		"12 (gone) Z" + rest:           {Name: "gone", Ended: true, Started: 4711},
		"12 ()) X" + rest:              {Name: ")", Ended: true, Started: 4711},
		"":                             {},
		"12 dockerd S" + rest:          {},
		"12 ) S (" + rest:              {},
		"12 (short) S 1 2 3":           {},
		"12 (x) S" + strings.ReplaceAll(rest, "4711", "-"): {},
	} {
		got, err := ParseStat([]byte(text))
		if got != want || (err == nil) != (want != Stat{}) {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
}

// proc is a machine's files.
type proc fstest.MapFS

func (p proc) ReadFile(path string) ([]byte, error) { return fstest.MapFS(p).ReadFile(path[1:]) }

func TestPIDFileOwner(t *testing.T) {
	t.Parallel()
	file := PIDFile{Path: "/run/d.pid", Program: "containerd", Argument: "docker/containerd"}
	const ours, theirs = "containerd\x00--config\x00/run/docker/containerd/c.toml", "/usr/bin/containerd"
	for name, c := range map[string]struct {
		text, stat, cmdline string
		want                Owner
	}{
		"no file":                             {"", "", "", Owner{}},
		"no number":                           {"what", "", "", Owner{Present: true}},
		"a group":                             {"-12", "", "", Owner{Present: true, PID: -12}},
		"no process":                          {"12\n", "", "", Owner{Present: true, PID: 12}},
		"it runs":                             {"12\n", "12 (containerd) S", ours, Owner{Present: true, PID: 12, Runs: true}},
		"it waits for its parent":             {"12\n", "12 (containerd) Z", ours, Owner{Present: true, PID: 12}},
		"another program":                     {"12\n", "12 (bash) S", ours, Owner{Present: true, PID: 12}},
		"another instance":                    {"12\n", "12 (containerd) S", theirs, Owner{Present: true, PID: 12}},
		"a text that the kernel never writes": {"12\n", "12", ours, Owner{Present: true, PID: 12}},
	} {
		machine := proc{}
		if c.text != "" {
			machine["run/d.pid"] = &fstest.MapFile{Data: []byte(c.text)}
		}
		if c.stat != "" {
			machine["proc/12/stat"] = &fstest.MapFile{Data: []byte(c.stat + strings.Repeat(" 1", 49))}
			machine["proc/12/cmdline"] = &fstest.MapFile{Data: []byte(c.cmdline)}
		}
		if got := file.Owner(machine); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestLastLines(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	text := "earlier\n" + strings.Repeat("x", logTail) + "\n\nlast\r\nbut one"
	if err := os.WriteFile(log, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := lastLines(log, int64(len("earlier\n")))
	if len(got) != 3 || !slices.Equal(got[1:], []string{"last", "but one"}) {
		t.Errorf("%d lines, the last %q", len(got), got[max(0, len(got)-2):])
	}
	if err := os.WriteFile(log, []byte(strings.Repeat("y\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := lastLines(log, 0); len(got) != logLines {
		t.Errorf("%d lines, want %d", len(got), logLines)
	}
	if got := lastLines(log, 196); len(got) != 2 {
		t.Errorf("%d lines after the offset, want 2", len(got))
	}
}
