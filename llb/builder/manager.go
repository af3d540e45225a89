// Package builder starts, finds and removes llorch-bk's own BuildKit, the managed
// builder: a container in the engine, or a daemon on this machine. What a builder
// then does is decided elsewhere (package buildkit).
package builder

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/buildkit"
)

// Managed is the address that stands for the managed builder.
const Managed = "managed"

const (
	// patience is how long a managed builder may take to answer after its start, and
	// to end when it is asked to.
	patience = time.Minute
	// dialTimeout is how long one attempt to reach a builder may take.
	dialTimeout = 10 * time.Second
)

// The remedies of errors about a managed builder.
const (
	nameAnother   = "name a builder with `builder=ADDR`"
	readEngineLog = "read the engine's log"
)

// Daemons runs programs of this machine in the background. It is all that a managed
// builder needs of the run half: cmd/internal/app implements it by runtime/process.
type Daemons interface {
	// Start starts a program that outlives this process, with its output appended to
	// the file log, and returns once ready returns nil. env is its environment.
	Start(ctx context.Context, argv, env []string, log string, ready func(context.Context) error) error
	// EndListener ends the process that listens at a unix socket and waits until it
	// has ended. After grace it kills the process. Nobody listening is no error.
	EndListener(ctx context.Context, socket string, grace time.Duration) error
	// Unmount detaches what a killed program left mounted below a folder.
	Unmount(dir string)
}

// Manager starts, finds and removes the managed builder: a container of BuildKit's
// image or, if that image is not available and this is Linux and root, BuildKit's
// daemon. There is no state file: the builder that answers is the builder that runs.
type Manager struct {
	// Dir is the folder of a daemon. Its path must leave room for a socket's name.
	Dir string
	// Containers is the engine; nil for none.
	Containers Containers
	// Daemons starts and ends a daemon. It must not be nil.
	Daemons Daemons
	// Image replaces the builder's image, for example by a mirror of it.
	Image string
	// Name is the name of its container and volume; empty for the one that is kept.
	Name string
	// bin is the folder of a compiled daemon; empty for a folder in Dir.
	bin string
	// Program is a buildkitd to run instead of the one that is found.
	Program string
	// Bundled returns a buildkitd out of the bundles that were loaded on this
	// machine, or no bytes if they have none. It may be nil.
	Bundled func() ([]byte, error)
	// Offline prevents pulls and compiling.
	Offline bool
	// Env are variables for the builder, NAME=VALUE: the proxies for its own pulls.
	Env []string
	// Notice is told, in words for a person, what is being done. It may be nil.
	Notice func(string)
}

// State describes a managed builder that exists.
type State struct {
	// Kind is KindContainer or KindProcess.
	Kind string
	// Where is the container's name or the daemon's folder.
	Where string
	// Running is false for a builder that is stopped and keeps its cache.
	Running bool
	// Bytes is the size of its cache on disk; 0 if that is not known.
	Bytes int64
}

// The kinds of managed builders.
const (
	KindContainer = "container"
	KindProcess   = "process"
)

// Open connects to the managed builder, and starts it first if it does not run.
func (m Manager) Open(ctx context.Context) (*buildkit.Builder, error) {
	// A builder that runs is used, whichever kind would be started today.
	if b, err := m.dialDaemon(ctx); err == nil {
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
	b, err := m.openDaemon(ctx)
	if err == nil || why == nil || ctx.Err() != nil {
		return b, err
	}
	// The daemon was the last resort: its log and its remedy are shown.
	return nil, fault.New(fault.Machine, "no builder could be started", both(err, why), "start a buildkitd and "+nameAnother)
}

// Fresh returns a manager of another, empty builder, which the caller removes with
// Drop. id tells it from others.
func (m Manager) Fresh(id string) Manager {
	fresh := m
	fresh.Name = keptName + "-" + id
	fresh.Dir = m.Dir + "-" + id
	fresh.bin = m.bins()
	return fresh
}

// States returns the managed builders of this machine and engine. It starts none.
func (m Manager) States(ctx context.Context) ([]State, error) {
	var out []State
	if m.Containers != nil {
		s, ok, err := m.containerState(ctx)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, s)
		}
	}
	if s, ok := m.daemonState(ctx); ok {
		out = append(out, s)
	}
	return out, nil
}

// Remove ends a managed builder and removes everything that it kept.
func (m Manager) Remove(ctx context.Context, s State) error {
	if s.Kind == KindContainer {
		return m.removeContainer(ctx)
	}
	return m.removeDaemon(ctx)
}

// Drop removes all builders of the manager, and their lock.
func (m Manager) Drop(ctx context.Context) error {
	states, err := m.States(ctx)
	for _, s := range states {
		err = errors.Join(err, m.Remove(ctx, s))
	}
	return errors.Join(err, os.RemoveAll(m.lockFile()))
}

func (m Manager) name() string     { return cmp.Or(m.Name, keptName) }
func (m Manager) bins() string     { return cmp.Or(m.bin, filepath.Join(m.Dir, "bin")) }
func (m Manager) socket() string   { return filepath.Join(m.Dir, "sock") }
func (m Manager) root() string     { return filepath.Join(m.Dir, "root") }
func (m Manager) lockFile() string { return m.Dir + ".lock" }

func (m Manager) notice(text string) {
	if m.Notice != nil {
		m.Notice(text)
	}
}
