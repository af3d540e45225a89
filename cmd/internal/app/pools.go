package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/pool"
	"github.com/llorch/llorch-bk/runtime/replica"
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
	meant, err := opt.meant()
	if err != nil {
		return nil, err
	}
	eng, err := a.engine(ctx)
	if err != nil {
		if ctx.Err() != nil || fault.ClassOf(err) != fault.Machine {
			return nil, err
		}
		return nil, errors.Join(err, a.withdrawAll(ctx, meant))
	}
	defer eng.Close()
	s := stopper{claims: a.claims(), look: eng.observer(eng.servers(nil)), eng: eng, grace: opt.Grace, meant: meant, say: a.say}
	return s.stop(ctx)
}

// meant are the replicas that a stop is about.
func (opt StopOptions) meant() (pool.Meant, error) {
	dir, err := handoff.Resolve(opt.HandoffDir)
	if err != nil {
		return pool.Meant{}, err
	}
	m := pool.Meant{Project: dir, All: opt.All, Pools: opt.Pools}
	if m.All && len(m.Pools) > 0 {
		return m, fault.New(fault.Usage, "`all` and the names of pools exclude each other", nil, "see llorch-bk stop --help")
	}
	if len(m.Pools) == 0 {
		m.Pools = []string{handoff.DefaultPool}
	}
	for _, p := range m.Pools {
		if err := handoff.ValidID(p); err != nil {
			return m, fault.New(fault.Usage, "no pool can be called "+p, err, "llorch-bk ps lists the pools")
		}
	}
	return m, nil
}

// withdrawAll removes the handoffs of pools whose engine does not answer.
func (a *App) withdrawAll(ctx context.Context, meant pool.Meant) error {
	entries, err := handoff.List(meant.Project)
	if err != nil {
		return err
	}
	plan := pool.Halt(meant, pool.Seen{Unreachable: true, Handoffs: handoffs(entries)})
	for _, id := range plan.Replicas() {
		release, err := a.claims().Acquire(ctx, id, func() {})
		if err != nil {
			return err
		}
		_, err = plan.Only(id).Execute(ctx, &operations{files: folder{}})
		release()
		if err != nil {
			return err
		}
	}
	return nil
}

// stopper stops pools.
type stopper struct {
	claims claims
	look   observer
	eng    *dockerEngine
	grace  time.Duration
	meant  pool.Meant
	say    func(format string, args ...any)
}

func (s stopper) stop(ctx context.Context) ([]string, error) {
	seen, err := s.look.project(ctx, s.meant.Project)
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	plan := pool.Halt(s.meant, seen)
	var stopped []string
	var failed []error
	for _, id := range plan.Replicas() {
		err := s.replica(ctx, id)
		if ctx.Err() != nil {
			return stopped, interrupted(ctx, errors.Join(err, context.Cause(ctx)))
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", id, err))
		} else if slices.Contains(plan.Stopped, id) {
			stopped = append(stopped, id.String())
		}
	}
	for _, n := range plan.Notes {
		s.say("note: %s", n)
	}
	if len(failed) > 0 {
		return stopped, fault.New(fault.Unexpected, "not everything could be stopped", errors.Join(failed...), "look at the engine's log, or remove the container by hand: docker rm -f NAME")
	}
	return stopped, nil
}

// replica stops one replica once nobody else is at it.
func (s stopper) replica(ctx context.Context, id replica.ID) error {
	release, err := s.claim(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	seen, err := s.look.project(ctx, id.Project)
	if err != nil {
		return err
	}
	_, err = pool.Halt(s.meant, seen).Only(id).Execute(ctx, s.ops(seen))
	return err
}

// claim takes a replica's claim. A run that has it waits for a server: that one ends,
// so that the run does.
func (s stopper) claim(ctx context.Context, id replica.ID) (func(), error) {
	for said := false; ; said = true {
		release, err := s.claims.Try(id)
		if err != nil || release != nil {
			return release, err
		}
		if !said {
			s.say("note: another llorch-bk is starting %s: it is told to give up", id)
		}
		seen, err := s.look.project(ctx, id.Project)
		if err == nil {
			_, err = pool.Break(id, seen).Execute(ctx, s.ops(seen))
		}
		if err == nil {
			err = pause(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
}

func (s stopper) ops(seen pool.Seen) *operations {
	ops := s.eng.operations(nil, s.eng.servers(nil), seen.Engine)
	ops.grace = s.grace
	return ops
}

// LogsOptions say which log is printed.
type LogsOptions struct {
	Pool, Replica, HandoffDir string
	Follow                    bool
}

// Logs prints a replica's log.
func (a *App) Logs(ctx context.Context, opt LogsOptions) error {
	dir, err := handoff.Resolve(opt.HandoffDir)
	if err != nil {
		return err
	}
	eng, err := a.engine(ctx)
	if err != nil {
		return err
	}
	defer eng.Close()
	on, id := eng.servers(nil), replica.ID{Project: dir, Pool: opt.Pool, Replica: opt.Replica}
	found, err := on.Observe(ctx, dir)
	if err != nil {
		return interrupted(ctx, err)
	}
	for _, s := range found {
		if s.Of() == id && !s.Foreign {
			return interrupted(ctx, on.Logs(ctx, s, a.Out, engine.LogOptions{Follow: opt.Follow}))
		}
	}
	return pool.NoPool(id.String())
}
