package app

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/pool"
	"github.com/llorch/llorch-bk/runtime/replica"
)

// StopOptions select what is stopped.
type StopOptions struct {
	// Pools are ids; none means the default pool.
	Pools      []string
	All        bool
	HandoffDir string
	// Grace is how long a server may take to end before it is killed.
	Grace time.Duration
}

// Stop stops pools and returns their names. It removes handoffs first, even if the engine
// does not answer: no program should bind a server that may be gone.
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

// meant returns the replicas to stop.
func (opt StopOptions) meant() (pool.Meant, error) {
	dir, err := handoff.Resolve(opt.HandoffDir)
	if err != nil {
		return pool.Meant{}, err
	}
	m := pool.Meant{Project: dir, All: opt.All, Pools: opt.Pools}
	if m.All && len(m.Pools) > 0 {
		return m, fault.New(fault.Usage, "`all` and pool names cannot be used together", nil, "remove one of them")
	}
	if len(m.Pools) == 0 {
		m.Pools = []string{handoff.DefaultPool}
	}
	for _, p := range m.Pools {
		if err := replica.ValidPool(p); err != nil {
			return m, fault.New(fault.Usage, "invalid pool name "+p, err, "list the pools with llorch-bk ps")
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

// stopper stops the pools of a project.
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
			return stopped, interrupted(ctx, errors.Join(append(failed, err, context.Cause(ctx))...))
		}
		if err != nil {
			// A Leftover also survives a later Ctrl-C.
			failed = append(failed, &fault.Leftover{What: "pool " + id.String() + " was not stopped", Why: err, Do: "llorch-bk stop " + id.Pool})
		} else if slices.Contains(plan.Stopped, id) {
			stopped = append(stopped, id.String())
		}
	}
	for _, n := range plan.Notes {
		s.say("note: %s", n)
	}
	if len(failed) > 0 {
		return stopped, fault.New(fault.Unexpected, "some pools were not stopped", errors.Join(failed...), "")
	}
	return stopped, nil
}

// replica stops one replica while it holds the replica's lock.
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

// claim takes a replica's lock. If a run holds it and waits for its server, claim stops that
// server, so that the run gives up.
func (s stopper) claim(ctx context.Context, id replica.ID) (func(), error) {
	for said := false; ; said = true {
		release, err := s.claims.Try(id)
		if err != nil || release != nil {
			return release, err
		}
		if !said {
			s.say("note: another llorch-bk is starting %s; stopping that start", id)
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
