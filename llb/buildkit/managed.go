package buildkit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/moby/buildkit/client"
)

// Managed is the address of the builder that this program starts, finds again
// and removes.
const Managed = "managed"

const (
	// managedImage is what a managed builder in a container runs. Its digest is the one
	// that public build configurations pin for this release.
	managedImage = "docker.io/moby/buildkit:v0.34.0@sha256:b059f8d7226d0b326bc871af489a5dddf65e36af4d20d14251b072974d9ee87c"
	// managedModule is what one in a process is compiled from where there is Go
	// and no such program.
	managedModule = "github.com/moby/buildkit"
	// The disk budget of a managed builder, in bytes: what it keeps at least,
	// what it leaves free, and what it never takes more than.
	managedReserved, managedFree, managedMax = 2_000_000_000, 5_000_000_000, 40_000_000_000
	// socketMax is the longest path of a unix socket that Linux takes.
	socketMax = 107
	// managedPatience is how long a managed builder may take to answer first.
	managedPatience = time.Minute
)

// budget is the disk budget as buildkitd's flag takes it, in megabytes.
func budget() string {
	return fmt.Sprintf("--oci-worker-gc-keepstorage=%d,%d,%d", managedReserved/1_000_000, managedFree/1_000_000, managedMax/1_000_000)
}

// Manager keeps the managed builder: a container of BuildKit's own image in the
// engine or, where that image cannot be had and this is Linux and root,
// BuildKit's daemon as a background process. What runs is what answers; there is
// no state file that could say otherwise.
type Manager struct {
	// Dir is where a process keeps what it has. Its path must leave room for that
	// of a socket.
	Dir string
	// Containers is the engine; nil for none.
	Containers Containers
	// Image replaces the builder's image, for a mirror of it.
	Image string
	// Name is that of its container and volume; empty for the one that is kept.
	Name string
	// bin is where a daemon that was compiled is kept; empty for Dir's own folder.
	bin string
	// Program is a buildkitd to run instead of the one that is found.
	Program string
	// Bundled gives a buildkitd that this machine keeps; nil, or no bytes, for none.
	Bundled func() ([]byte, error)
	// Offline pulls no image, and compiles nothing.
	Offline bool
	// Env is for the builder, which fetches images itself: the proxy variables.
	Env []string
	// Start runs a program in the background until it is ended, with its output
	// going to the file log, and comes back once ready gives nil.
	Start func(ctx context.Context, argv, env []string, log string, ready func(context.Context) error) error
	// Notice is told what is done, for a person.
	Notice func(string)
}

// ManagedState is a managed builder as it is found.
type ManagedState struct {
	// Kind is "container" or "process".
	Kind string `json:"kind"`
	// Where is the container's name, or the folder of a process.
	Where string `json:"where"`
	// Running is false for one that keeps its disk and does not run.
	Running bool `json:"running"`
	// Bytes is what its cache takes on disk; 0 where that is not known.
	Bytes int64 `json:"bytes,omitempty"`
}

// Open connects to the managed builder, which is started if it does not run.
func (m Manager) Open(ctx context.Context) (*Builder, error) {
	// One that runs is used, whatever kind would be started today.
	if b, err := m.dialProcess(ctx); err == nil {
		return b, nil
	}
	var why error
	if m.Containers != nil {
		b, err := m.openContainer(ctx)
		if err == nil || ctx.Err() != nil {
			return b, err
		}
		why = err
		m.notice(err.Error())
	}
	b, err := m.openProcess(ctx)
	if err == nil || why == nil || ctx.Err() != nil {
		return b, err
	}
	// The process was the last resort: its log and its remedy are shown.
	return nil, fault.New(fault.Machine, "no builder could be started", fmt.Errorf("as a process: %w; in a container: %w", err, why),
		"start a buildkitd and name it with --builder ADDR")
}

func (m Manager) bins() string { return cmp.Or(m.bin, filepath.Join(m.Dir, "bin")) }

func (m Manager) name() string { return cmp.Or(m.Name, managedName) }

// Fresh keeps a builder of its own beside the one that is kept, with nothing in it. It
// is for its caller to remove.
func (m Manager) Fresh(id string) Manager {
	fresh := m
	fresh.Name = managedName + "-" + id
	fresh.Dir = m.Dir + "-" + id
	fresh.bin = m.bins()
	return fresh
}

func (m Manager) socket() string { return filepath.Join(m.Dir, "sock") }

// dialProcess connects to a managed process that runs.
func (m Manager) dialProcess(ctx context.Context) (*Builder, error) {
	if m.Dir == "" {
		return nil, errors.New("no folder")
	}
	if _, err := os.Stat(m.socket()); err != nil {
		return nil, err
	}
	c, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", m.socket())
	if err != nil {
		return nil, err // Left behind by one that ended.
	}
	c.Close()
	b, err := Dial(ctx, "unix://"+m.socket(), nil, TLS{})
	if err != nil {
		return nil, err
	}
	b.Managed = true
	return b, nil
}

// openProcess starts BuildKit's daemon in the background, unless another command
// has just done so.
func (m Manager) openProcess(ctx context.Context) (*Builder, error) {
	const what = "no builder can be started as a process"
	switch {
	case runtime.GOOS != "linux":
		return nil, fault.New(fault.Machine, what, errors.New("that takes Linux"), "name a builder with --builder ADDR")
	case os.Geteuid() != 0:
		return nil, fault.New(fault.Machine, what, errors.New("that takes root"), "name a builder with --builder ADDR")
	case len(m.socket()) > socketMax:
		return nil, fault.New(fault.Machine, what, fmt.Errorf("the path of its socket is longer than %d bytes: %s", socketMax, m.socket()), "name a shorter folder with LLORCH_CACHE_DIR")
	}
	// 0700: whoever may use the builder's socket is root on this machine.
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		return nil, fault.New(fault.Machine, what, err, "name another folder with LLORCH_CACHE_DIR")
	}
	lock := flock.New(m.Dir + ".lock")
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer func() { _ = lock.Unlock() }()
	if b, err := m.dialProcess(ctx); err == nil {
		return b, nil
	}
	if _, err := exec.LookPath("runc"); err != nil {
		if _, err := exec.LookPath("buildkit-runc"); err != nil {
			return nil, fault.New(fault.Machine, what, errors.New("there is no runc"), "install it: apt-get install runc")
		}
	}
	program, err := m.program(ctx)
	if err != nil {
		return nil, err
	}
	m.notice("start a builder in the background: " + program)
	argv := []string{
		program, "--addr", "unix://" + m.socket(), "--root", filepath.Join(m.Dir, "root"),
		"--containerd-worker=false", "--oci-worker=true", "--oci-worker-gc=true", budget(),
	}
	var b *Builder
	err = m.Start(ctx, argv, append(os.Environ(), m.Env...), filepath.Join(m.Dir, "log"), func(ctx context.Context) error {
		var err error
		b, err = m.dialProcess(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Locate finds BuildKit's daemon as a program on this machine, which may compile it.
func (m Manager) Locate(ctx context.Context) (string, error) { return m.program(ctx) }

// program finds BuildKit's daemon: named, beside this program, in the path, compiled
// earlier, in a bundle, or compiled now from the module that this program is made of.
func (m Manager) program(ctx context.Context) (string, error) {
	if m.Program != "" {
		return m.Program, nil
	}
	var places []string
	if self, err := os.Executable(); err == nil {
		places = append(places, filepath.Join(filepath.Dir(self), "buildkitd"))
	}
	if found, err := exec.LookPath("buildkitd"); err == nil {
		places = append(places, found)
	}
	own := filepath.Join(m.bins(), "buildkitd")
	for _, p := range append(places, own) {
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	if ok, err := m.unbundle(own); ok || err != nil {
		return own, err
	}
	const what, do = "there is no buildkitd", "install one (make buildkitd does), or name a builder with --builder ADDR"
	if m.Offline {
		return "", fault.New(fault.Machine, what, errors.New("looked beside llorch-bk, in PATH and in what bundles were loaded here"), "load a bundle that has one: llorch-bk bundle create says whether it does")
	}
	version := buildkitVersion()
	goTool, err := exec.LookPath("go")
	if err != nil || version == "" {
		return "", fault.New(fault.Machine, what, errors.New("looked beside llorch-bk and in PATH, and there is no Go to compile it with"), do)
	}
	m.notice("compile buildkitd " + version + ", once, which takes a minute or two")
	if lines, err := m.compile(ctx, goTool, version, own); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", fault.New(fault.Machine, "buildkitd does not compile", err, do).WithLines(lines)
	}
	return own, nil
}

// unbundle takes a buildkitd that this machine keeps to a place where it can be run.
func (m Manager) unbundle(own string) (bool, error) {
	if m.Bundled == nil {
		return false, nil
	}
	data, err := m.Bundled()
	if err != nil || len(data) == 0 {
		return false, err
	}
	m.notice("take buildkitd out of a bundle")
	return true, errors.Join(os.MkdirAll(filepath.Dir(own), 0o700), renameio.WriteFile(own, data, 0o700))
}

// compile makes buildkitd in a module of its own: "go install" refuses a module whose
// go.mod excludes others, as BuildKit's does. What it gives appears whole or not at
// all; on failure it gives the end of what Go said.
func (m Manager) compile(ctx context.Context, goTool, version, out string) ([]string, error) {
	dir, err := os.MkdirTemp("", "llorch-buildkitd-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := errors.Join(
		os.MkdirAll(filepath.Dir(out), 0o700),
		os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module buildkitd\n\ngo 1.21\n\nrequire "+managedModule+" "+version+"\n"), 0o600),
	); err != nil {
		return nil, err
	}
	const program = managedModule + "/cmd/buildkitd"
	made := filepath.Join(dir, "buildkitd")
	cmd := exec.CommandContext(ctx, goTool, "build", "-trimpath", "-o", made, program)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "GOOS=", "GOARCH=", "CGO_ENABLED=0")
	cmd.WaitDelay = time.Second
	if said, err := cmd.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(said)), "\n")
		return lines[max(0, len(lines)-tailLines):], err
	}
	// The folder for temporary files can be on another disk.
	data, err := os.ReadFile(made)
	if err != nil {
		return nil, err
	}
	return nil, renameio.WriteFile(out, data, 0o700)
}

// buildkitVersion is the version of the module that is compiled in.
func buildkitVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == managedModule {
				return d.Version
			}
		}
	}
	return ""
}

func (m Manager) notice(text string) {
	if m.Notice != nil {
		m.Notice(text)
	}
}

// States are the managed builders of this machine and engine, without starting any.
func (m Manager) States(ctx context.Context) ([]ManagedState, error) {
	var out []ManagedState
	if m.Containers != nil {
		s, ok, err := m.containerState(ctx)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, s)
		}
	}
	if _, err := os.Stat(filepath.Join(m.Dir, "root")); err == nil {
		s := ManagedState{Kind: "process", Where: m.Dir}
		if b, err := m.dialProcess(ctx); err == nil {
			s.Running = true
			b.describe(ctx, &s)
			b.Close()
		}
		out = append(out, s)
	}
	return out, nil
}

// describe adds what the cache of a builder that runs takes.
func (b *Builder) describe(ctx context.Context, s *ManagedState) {
	if used, err := b.client.DiskUsage(ctx); err == nil {
		for _, u := range used {
			s.Bytes += u.Size
		}
	}
}

// Drop removes the builders that a manager keeps, if there are any.
func (m Manager) Drop(ctx context.Context) error {
	states, err := m.States(ctx)
	for _, s := range states {
		err = errors.Join(err, m.Remove(ctx, s))
	}
	return errors.Join(err, os.RemoveAll(m.Dir+".lock"))
}

// Remove ends a managed builder and removes all that it kept.
func (m Manager) Remove(ctx context.Context, s ManagedState) error {
	if s.Kind == "container" {
		return m.removeContainer(ctx)
	}
	lock := flock.New(m.Dir + ".lock")
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return fmt.Errorf("the builder cannot be removed: %w", err)
	}
	// The lock's file stays: others may wait at it.
	defer func() { _ = lock.Unlock() }()
	if err := m.endProcess(ctx); err != nil {
		return err
	}
	// Layers of a builder that was killed can still be mounted.
	for _, path := range mountsBelow(m.Dir) {
		unmount(path)
	}
	if err := os.RemoveAll(m.Dir); err != nil {
		return fault.New(fault.Unexpected, "the builder's folder cannot be removed", err, "look whether something still runs in "+m.Dir)
	}
	return nil
}

// endProcess asks whoever listens at the socket to end, and waits until it has.
func (m Manager) endProcess(ctx context.Context) error {
	c, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", m.socket())
	if err != nil {
		return nil // Nobody listens: it has ended.
	}
	pid, err := peer(c)
	// A daemon that is to end waits for its connections.
	c.Close()
	if err != nil {
		return fmt.Errorf("the builder's process cannot be told: %w", err)
	}
	const what = "the builder cannot be ended"
	do := "end process " + strconv.Itoa(pid) + " yourself"
	if err := terminate(pid); err != nil {
		return fault.New(fault.Machine, what, err, do)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, managedPatience, errors.New("it does not end"))
	defer cancel()
	for alive(pid) {
		select {
		case <-ctx.Done():
			return fault.New(fault.Machine, what, context.Cause(ctx), do)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// dialWith connects to a builder through a connection of another's making.
func dialWith(ctx context.Context, name string, dial func(context.Context) (net.Conn, error)) (*Builder, error) {
	c, err := client.New(ctx, "", client.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }))
	if err != nil {
		return nil, err
	}
	workers, err := c.ListWorkers(ctx)
	if err != nil {
		c.Close()
		return nil, err
	}
	return &Builder{client: c, Address: name, Managed: true, platforms: platformsOf(workers)}, nil
}
