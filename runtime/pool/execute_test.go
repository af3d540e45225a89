package pool_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/pool"
)

// doer is a Doer with servers and a handoff in memory. The operation with the number
// failing fails, of a cause where one is given.
type doer struct {
	servers map[string]*engine.Server
	handoff string // the id of the server that it tells of
	made    int
	done    []string
	turns   int

	failing int
	cause   pool.Cause
	fail    func()
	// broken fails also while it is undone.
	broken pool.Verb
}

var errFailing = errors.New("it does not work")

func newDoer(seen pool.Seen) *doer {
	d := &doer{servers: map[string]*engine.Server{}, failing: -1}
	for _, s := range seen.Servers {
		d.servers[s.ID] = &s
	}
	for _, h := range seen.Handoffs {
		d.handoff = h.Container
	}
	return d
}

func (d *doer) Turn(pool.Op, error) { d.turns++ }

func (d *doer) Do(ctx context.Context, op pool.Op) (engine.Server, error) {
	if ctx.Err() != nil {
		return engine.Server{}, context.Cause(ctx)
	}
	n := len(d.done)
	d.done = append(d.done, string(op.Do))
	if n == d.failing {
		if d.fail != nil {
			d.fail()
		}
		err := fault.New(fault.Engine, "failed", errFailing, "")
		if d.cause != "" {
			return engine.Server{}, pool.Because(err, d.cause)
		}
		return engine.Server{}, err
	}
	if d.broken != "" && n > d.failing && op.Do == d.broken {
		return engine.Server{}, errors.New("nor does this")
	}
	var s *engine.Server
	if op.Server != nil {
		s = d.servers[op.Server.ID]
	}
	switch op.Do {
	case pool.Create:
		d.made++
		made := server(*op.Spec, func(s *engine.Server) {
			if created(s); op.Standby {
				standby(s)
			}
			s.ID = fmt.Sprintf("c-new%d", d.made)
		})
		d.servers[made.ID] = &made
		return made, nil
	case pool.Start:
		if s == nil {
			return engine.Server{}, errors.New("nothing to start")
		}
		s.State.Running, s.State.Status, s.State.StartedAt = true, "running", now
		if n := len(d.running()); n > 1 {
			return engine.Server{}, fmt.Errorf("%d servers run", n)
		}
		return *s, nil
	case pool.Wait, pool.Prove, pool.Confirm:
		if s == nil || !s.State.Running {
			return engine.Server{}, errors.New("it does not run")
		}
	case pool.Publish:
		if s == nil || !s.State.Running {
			return engine.Server{}, errors.New("a handoff of nothing")
		}
		d.handoff = s.ID
	case pool.Withdraw:
		if d.handoff == op.Handoff.Container {
			d.handoff = ""
		}
	case pool.Stop:
		s.State.Running, s.State.Status = false, "exited"
	case pool.Remove:
		if s == nil && op.Server == nil {
			return engine.Server{}, errors.New("nothing to remove")
		}
		if s != nil {
			delete(d.servers, s.ID)
		}
	case pool.Promote:
		s.Standby, s.Name = false, s.Of().Name()
		return *s, nil
	case pool.Await:
		return engine.Server{}, pool.ErrAgain
	}
	return engine.Server{}, nil
}

// running are the servers that run.
func (d *doer) running() []string {
	var out []string
	for _, s := range d.servers {
		if s.State.Running {
			out = append(out, s.ID)
		}
	}
	slices.Sort(out)
	return out
}

// Whatever operation of whatever plan fails: what ran before runs again with its
// handoff, unless its successor was ready; and nothing else is left.
func TestWhateverFails(t *testing.T) {
	t.Parallel()
	for name, c := range runs() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := newDoer(c.seen)
			p := pool.Run(c.want, c.seen)
			whole := newDoer(c.seen)
			_, err := p.Execute(t.Context(), whole)
			if p.Refused != nil || err != nil {
				if d := len(whole.done); p.Refused != nil && (d > 0 || !errors.Is(err, p.Refused)) {
					t.Errorf("refused, and %v: %v", whole.done, err)
				}
				return
			}
			for n := range whole.done {
				for _, how := range []string{"fails", "is interrupted"} {
					d := newDoer(c.seen)
					d.failing = n
					ctx, cancel := context.WithCancel(t.Context())
					if how == "is interrupted" {
						d.fail = cancel
					}
					_, err := p.Execute(ctx, d)
					cancel()
					where := fmt.Sprintf("%s %s: %v", whole.done[n], how, d.done)
					if !errors.Is(err, errFailing) || fault.Leftovers(err) != nil {
						t.Errorf("%s: error %v", where, err)
					}
					final := slices.IndexFunc(p.Ops, func(op pool.Op) bool { return op.Final })
					if final >= 0 && n > final {
						if len(d.running()) != 1 || slices.Contains(d.running(), "c-own") {
							t.Errorf("%s: %v run, want the new server alone", where, d.running())
						}
						continue
					}
					if !slices.Equal(d.running(), before.running()) {
						t.Errorf("%s: %v run, before it were %v", where, d.running(), before.running())
					}
					if d.handoff != "" && !slices.Contains(d.running(), d.handoff) && d.handoff != before.handoff {
						t.Errorf("%s: a handoff of %s, which does not run", where, d.handoff)
					}
					if slices.Contains(before.running(), before.handoff) && d.handoff != before.handoff {
						t.Errorf("%s: the handoff of %s is lost", where, before.handoff)
					}
				}
			}
		})
	}
}

// Where the GPU cannot be used, the CPU takes its place, whichever way that shows.
func TestTheCPUTakesThePlaceOfAGPU(t *testing.T) {
	t.Parallel()
	all := runs()
	for _, name := range []string{"gpu-or-cpu", "gpu-or-cpu-other-image", "gpu-or-cpu-runs-on-cpu"} {
		c := all[name]
		p := pool.Run(c.want, c.seen)
		for n, op := range p.Ops {
			if op.Instead == nil {
				continue
			}
			d := newDoer(c.seen)
			d.failing, d.cause = n, pool.NoGPU
			if _, err := p.Execute(t.Context(), d); err != nil || d.turns != 1 {
				t.Errorf("%s, %s: %v, %d turns", name, op.Do, err, d.turns)
				continue
			}
			running := d.running()
			if len(running) != 1 || d.handoff != running[0] || d.servers[running[0]].RunDigest != c.want.CPU.RunDigest() || len(d.servers) != 1 {
				t.Errorf("%s, %s: %v run, the handoff tells of %s", name, op.Do, running, d.handoff)
			}
			// And where that fails too, all is as before.
			d = newDoer(c.seen)
			d.failing, d.cause = n, pool.Ended
			if _, err := p.Execute(t.Context(), d); err == nil || d.turns != 0 {
				t.Errorf("%s, %s: another cause: %v, %d turns", name, op.Do, err, d.turns)
			}
		}
	}
}

// What cannot be undone is said, also after Ctrl-C, and the rest is undone.
func TestWhatCannotBeUndoneIsSaid(t *testing.T) {
	t.Parallel()
	c := runs()["other-image"]
	p := pool.Run(c.want, c.seen)
	wait := slices.IndexFunc(p.Ops, func(op pool.Op) bool { return op.Do == pool.Wait })
	for broken, want := range map[pool.Verb]string{
		pool.Remove: "container llorch-default-r0-04a47d8f-next was not removed",
		pool.Start:  "is not ready again",
	} {
		d := newDoer(c.seen)
		d.failing, d.broken = wait, broken
		ctx, cancel := context.WithCancel(t.Context())
		d.fail = cancel
		_, err := p.Execute(ctx, d)
		left := fault.Leftovers(err)
		if left == nil || !strings.Contains(left.Error(), want) {
			t.Errorf("%s: %v, want %q", broken, err, want)
		}
		if again := slices.Contains(d.running(), "c-own"); again != (broken == pool.Remove) {
			t.Errorf("%s: what ran before runs: %v", broken, again)
		}
		if broken == pool.Start && d.handoff != "" {
			t.Error("a handoff of a server that did not start")
		}
	}
}

func TestAServerThatEndedIsCleanedUp(t *testing.T) {
	t.Parallel()
	c := runs()["same-digest"]
	p := pool.Run(c.want, c.seen)
	d := newDoer(c.seen)
	d.failing, d.cause = 0, pool.Ended
	if _, err := p.Execute(t.Context(), d); !errors.Is(err, pool.Ended) || len(d.servers) != 0 || d.handoff != "" {
		t.Errorf("%v; left %v, %q", err, d.servers, d.handoff)
	}
	// Of one that is only not ready in time nothing is touched: somebody may wait longer.
	d = newDoer(c.seen)
	d.failing = 0
	if _, err := p.Execute(t.Context(), d); err == nil || len(d.running()) != 1 || d.handoff == "" {
		t.Errorf("%v; %v run", err, d.running())
	}
}
