package app

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/pool"
)

// The states of a running replica in the output of ps.
const (
	StateReady   = string(pool.Ready)
	StateLoading = string(pool.Loading)
	StateSilent  = string(pool.Silent)
)

// Pool is the current state of one replica.
type Pool struct {
	Pool    string `json:"pool"`
	Replica string `json:"replica"`
	// State is StateReady, StateLoading or StateSilent, or for a stopped container Docker's
	// own word with the exit code.
	State   string    `json:"state"`
	URL     string    `json:"url"`
	Image   string    `json:"image"`
	Model   string    `json:"model"`
	Since   time.Time `json:"since"`
	Project string    `json:"project"`
	// Handoff is the path of the handoff; empty if there is none.
	Handoff   string `json:"handoff,omitempty"`
	Container string `json:"container"`
}

// PsOptions select the pools to list.
type PsOptions struct {
	HandoffDir  string
	AllProjects bool
}

// Ps lists pools as the engine reports them, and repairs their handoffs: it writes missing
// ones and removes stale ones.
func (a *App) Ps(ctx context.Context, opt PsOptions) ([]Pool, error) {
	dir, err := handoff.Resolve(opt.HandoffDir)
	if err != nil {
		return nil, err
	}
	eng, err := a.engine(ctx)
	if err != nil {
		return nil, err
	}
	defer eng.Close()
	on := eng.servers(nil)
	look := eng.observer(on)
	seen, err := look.project(ctx, dir)
	if err == nil && opt.AllProjects {
		seen.Servers, err = on.Observe(ctx, "")
	}
	if err == nil {
		err = look.answers(ctx, &seen)
	}
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	if err := a.reconcile(ctx, eng, look, dir, seen); err != nil {
		return nil, interrupted(ctx, err)
	}
	return list(dir, opt.AllProjects, seen), nil
}

// reconcile repairs a project's handoffs, one replica at a time. It skips replicas that
// another process has locked.
func (a *App) reconcile(ctx context.Context, eng *dockerEngine, look observer, project string, seen pool.Seen) error {
	on := eng.servers(nil)
	plan := pool.Reconcile(project, seen)
	for _, id := range plan.Replicas() {
		release, err := a.claims().Try(id)
		if err != nil {
			return err
		}
		if release == nil {
			continue
		}
		err = func() error {
			defer release()
			// The state may have changed since it was observed without the lock.
			now, err := look.project(ctx, project)
			if err == nil {
				err = look.answers(ctx, &now)
			}
			if err == nil {
				_, err = pool.Reconcile(project, now).Only(id).Execute(ctx, eng.operations(nil, on, now.Engine))
			}
			return err
		}()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			// Show the list even if one handoff cannot be repaired.
			a.say("warning: the handoff of %s: %v", id, err)
		}
	}
	for _, n := range plan.Notes {
		a.say("note: %s", n)
	}
	return nil
}

// list makes the rows of ps: one for each replica, even while the replica is replaced.
func list(project string, all bool, seen pool.Seen) []Pool {
	out := []Pool{}
	for _, s := range seen.Servers {
		if s.Foreign || !all && s.Project != project {
			continue
		}
		beside := func(o engine.Server) bool { return o.Of() == s.Of() && o.ID != s.ID && !o.Foreign }
		if i := slices.IndexFunc(seen.Servers, beside); i >= 0 && (s.State.Running == seen.Servers[i].State.Running && s.Standby || !s.State.Running && seen.Servers[i].State.Running) {
			continue
		}
		p := Pool{
			Pool: s.Pool, Replica: s.Replica, State: stateOf(s, seen.Health[s.ID]), URL: s.URL, Image: s.ImageRef,
			Model: s.Labels[engine.LabelModel], Since: s.State.StartedAt, Project: s.Project, Container: s.Name,
		}
		if _, err := os.Stat(s.Handoff); err == nil {
			p.Handoff = s.Handoff
		}
		out = append(out, p)
	}
	return out
}

// stateOf is a replica's state in one word.
func stateOf(s engine.Server, health pool.Health) string {
	switch {
	case s.State.Running:
		return string(health)
	case s.State.Status == "exited":
		return fmt.Sprintf("exited (%d)", s.State.ExitCode)
	}
	return s.State.Status
}
