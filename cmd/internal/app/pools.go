package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/health"
)

// The states of a pool's replica, as ps shows them.
const (
	StateReady   = "ready"
	StateLoading = "loading"
	StateSilent  = "not answering"
)

// Pool is a replica of a pool as it is now.
type Pool struct {
	Pool    string `json:"pool"`
	Replica string `json:"replica"`
	// State is StateReady, StateLoading, StateSilent, or Docker's word for a
	// container that does not run, with its exit code.
	State   string    `json:"state"`
	URL     string    `json:"url"`
	Image   string    `json:"image"`
	Model   string    `json:"model"`
	Since   time.Time `json:"since"`
	Project string    `json:"project"`
	// Handoff is the path of the handoff, empty while there is none.
	Handoff   string `json:"handoff,omitempty"`
	Container string `json:"container"`
}

// PsOptions say which pools are listed.
type PsOptions struct {
	HandoffDir  string
	AllProjects bool
}

// Ps lists pools as the engine tells of them, and sets their handoffs right:
// one that is missing is written, one that is no longer true is removed.
func (a *App) Ps(ctx context.Context, opt PsOptions) ([]Pool, error) {
	dir, err := filepath.Abs(opt.HandoffDir)
	if err != nil {
		return nil, err
	}
	eng, err := a.engine(ctx)
	if err != nil {
		return nil, err
	}
	defer eng.Close()
	project := dir
	if opt.AllProjects {
		project = ""
	}
	found, err := engine.New(eng.client, eng.at, nil).List(ctx, project)
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	pools := make([]Pool, 0, len(found))
	for _, i := range found {
		p := Pool{
			Pool: i.Pool, Replica: i.Replica, State: stateOf(ctx, i), URL: i.URL, Image: i.ImageRef,
			Model: i.Labels[labelModelRef], Since: i.State.StartedAt, Project: i.Project, Container: i.Name,
		}
		if ctx.Err() != nil {
			// A question that was broken off has no answer to act upon.
			return nil, interrupted(ctx, context.Cause(ctx))
		}
		if i.Project == dir {
			if err := a.reconcile(ctx, eng, i, p.State); err != nil {
				if ctx.Err() != nil {
					return nil, interrupted(ctx, err)
				}
				// One file that is not as it should be is no reason to show nothing.
				a.say("warning: the handoff of %s: %v", i.Pool, err)
			}
		}
		if _, err := os.Stat(i.Handoff); err == nil {
			p.Handoff = i.Handoff
		}
		pools = append(pools, p)
	}
	return pools, interrupted(ctx, sweep(dir, eng.remote(), found))
}

// stateOf asks a replica how it is.
func stateOf(ctx context.Context, i *engine.Instance) string {
	if !i.State.Running {
		if i.State.Status == "exited" {
			return fmt.Sprintf("exited (%d)", i.State.ExitCode)
		}
		return i.State.Status
	}
	switch step := health.Look(ctx, i.URL); {
	case step == health.Ready:
		return StateReady
	case step == health.Loading, time.Since(i.State.StartedAt) < startingFor:
		return StateLoading
	}
	return StateSilent
}

// startingFor is how long a server that does not answer may still be about to
// open its port.
const startingFor = time.Minute

// reconcile makes a replica's handoff say the truth. A server that is too busy
// to answer keeps what it has.
func (a *App) reconcile(ctx context.Context, eng *dockerEngine, i *engine.Instance, state string) error {
	switch state {
	case StateReady:
		_, err := writeHandoff(ctx, eng, i)
		return err
	case StateSilent:
		return nil
	}
	return handoff.Remove(i.Project, i.Pool, i.Replica)
}

// ours says whether a file of the handoff folder is a handoff that this program
// wrote for a container on the engine at host: another program may write there
// too, and another engine's containers cannot be seen from here.
func ours(file, host string, h handoff.Handoff) bool {
	return h.Container.ID != "" && h.EngineHost == host && file == handoff.FileName(h.PoolID, h.ReplicaID)
}

// sweep removes the project's handoffs that no container stands behind.
func sweep(dir, host string, found []*engine.Instance) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".json") {
			continue
		}
		h, err := handoff.Read(filepath.Join(dir, f.Name()))
		if err != nil || !ours(f.Name(), host, h) {
			continue
		}
		if !slices.ContainsFunc(found, func(i *engine.Instance) bool { return i.ID == h.Container.ID }) {
			if err := handoff.Remove(dir, h.PoolID, h.ReplicaID); err != nil {
				return err
			}
		}
	}
	return nil
}

// StopOptions say what is stopped.
type StopOptions struct {
	// Pools are ids; none means the default pool.
	Pools      []string
	All        bool
	HandoffDir string
	// Grace is how long a server may take to end by itself.
	Grace time.Duration
}

// Stop ends pools and returns what it ended. Handoffs go first, also those of
// an engine that does not answer: nobody is to bind what may be gone.
func (a *App) Stop(ctx context.Context, opt StopOptions) ([]string, error) {
	dir, err := filepath.Abs(opt.HandoffDir)
	if err != nil {
		return nil, err
	}
	pools := opt.Pools
	if opt.All && len(pools) > 0 {
		return nil, fault.New(fault.Usage, "--all and the names of pools exclude each other", nil, "see llorch-bk stop --help")
	}
	if len(pools) == 0 {
		pools = []string{handoff.DefaultPool}
	}
	for _, p := range pools {
		if err := handoff.ValidID(p); err != nil {
			return nil, fault.New(fault.Usage, "no pool can be called "+p, err, "llorch-bk ps lists the pools")
		}
	}
	meant := func(pool string) bool { return opt.All || slices.Contains(pools, pool) }
	if err := removeHandoffs(dir, meant); err != nil {
		return nil, err
	}
	eng, err := a.engine(ctx)
	if err != nil {
		return nil, err
	}
	defer eng.Close()
	found, err := engine.New(eng.client, eng.at, nil).List(ctx, dir)
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	var stopped []string
	var failed []error
	for _, i := range found {
		if !meant(i.Pool) {
			continue
		}
		// A run that was waiting may have written the handoff since.
		err := errors.Join(i.Stop(ctx, opt.Grace), handoff.Remove(dir, i.Pool, i.Replica))
		if ctx.Err() != nil {
			return stopped, interrupted(ctx, err)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", i.Pool, err))
			continue
		}
		name := i.Pool
		if i.Replica != handoff.DefaultReplica {
			name += "/" + i.Replica
		}
		stopped = append(stopped, name)
	}
	if len(failed) > 0 {
		return stopped, fault.New(fault.Unexpected, "not everything could be stopped", errors.Join(failed...), "look at the engine's log, or remove the container by hand: docker rm -f NAME")
	}
	return stopped, nil
}

func removeHandoffs(dir string, meant func(string) bool) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		h, err := handoff.Read(filepath.Join(dir, f.Name()))
		if err == nil && meant(h.PoolID) && ours(f.Name(), h.EngineHost, h) {
			if err := handoff.Remove(dir, h.PoolID, h.ReplicaID); err != nil {
				return err
			}
		}
	}
	return nil
}

// LogsOptions say which log is printed.
type LogsOptions struct {
	Pool, Replica, HandoffDir string
	Follow                    bool
}

// Logs prints a replica's log.
func (a *App) Logs(ctx context.Context, opt LogsOptions) error {
	dir, err := filepath.Abs(opt.HandoffDir)
	if err != nil {
		return err
	}
	eng, err := a.engine(ctx)
	if err != nil {
		return err
	}
	defer eng.Close()
	i, err := engine.New(eng.client, eng.at, nil).Find(ctx, dir, opt.Pool, opt.Replica)
	if err != nil {
		return interrupted(ctx, err)
	}
	if i == nil {
		return fault.New(fault.Usage, fmt.Sprintf("this project has no pool %q", opt.Pool), nil, "llorch-bk ps lists the pools")
	}
	return interrupted(ctx, i.Logs(ctx, a.Out, engine.LogOptions{Follow: opt.Follow}))
}
