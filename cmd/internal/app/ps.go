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

// The states of a running replica, as ps shows them.
const (
	StateReady   = string(pool.Ready)
	StateLoading = string(pool.Loading)
	StateSilent  = string(pool.Silent)
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

// reconcile carries out what makes a project's handoffs true, replica by replica. One
// that somebody else is at is left to them.
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
			// What was seen before the claim may have changed since.
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
			// One file that is not as it should be is no reason to show nothing.
			a.say("warning: the handoff of %s: %v", id, err)
		}
	}
	for _, n := range plan.Notes {
		a.say("note: %s", n)
	}
	return nil
}

// list are the rows of ps: a row for each replica, also while it is replaced.
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

// stateOf is a replica's state in a word.
func stateOf(s engine.Server, health pool.Health) string {
	switch {
	case s.State.Running:
		return string(health)
	case s.State.Status == "exited":
		return fmt.Sprintf("exited (%d)", s.State.ExitCode)
	}
	return s.State.Status
}
