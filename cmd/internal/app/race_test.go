package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/health"
	"github.com/llorch/llorch-bk/runtime/pool"
)

// Two runs of one pool, in every order in which a scheduler can let their steps
// happen: each look, probe, claim, creation, stop, removal and writing of a handoff
// is a step. The real planner, executor and operations run on a
// world in memory.
//
// After each step: never two servers that run, never a handoff without a server that
// runs, and never is the handoff of the wanted server lost.

// run lets a racer bring the pool to what it wants.
func (r *racer) run(spec engine.Spec) {
	e := raceEngine{r}
	ops := &operations{
		eng: e, files: raceFiles{r}, engineID: "E", grace: time.Second,
		describe: func(_ context.Context, s engine.Server) (handoff.Handoff, error) {
			return handoff.Handoff{URL: s.URL, Container: handoff.Container{ID: s.ID}, StartedAt: s.State.StartedAt}, nil
		},
		healthy: func(_ context.Context, s engine.Server, _ health.Options) error {
			r.step("wait for "+s.ID, nil)
			if have := r.w.servers[s.ID]; have == nil || !have.State.Running {
				return errors.New("the server ended")
			}
			return nil
		},
		// Whoever waits for somebody else goes on when the world has changed.
		pause: func(context.Context) error {
			r.step("pause", func() bool { return r.w.version != r.looked })
			return nil
		},
	}
	l := launcher{
		claims: raceClaims{r}, ops: ops, busy: func() {},
		look: observer{eng: e, files: raceFiles{r}, now: func() time.Time { return raceNow }, step: func(context.Context, string) health.Step { return health.Starting }},
	}
	_, r.err = l.bring(context.Background(), pool.Wanted{Spec: spec})
	r.done = true
	r.w.parked <- r
}

// state is the world and all that the racers know of it: what happens from here on
// depends on nothing else.
func (w *raceWorld) state() string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(w.servers)) {
		s := w.servers[id]
		fmt.Fprintf(&b, "%s %s %s %s;", s.ID, s.Name, s.State.Status, s.RunDigest[:12])
	}
	for _, h := range w.files {
		fmt.Fprintf(&b, "%s %v;", h.Container.ID, h.StartedAt)
	}
	return b.String()
}

// result is what a racer learns of the world by a step.
func (w *raceWorld) result(step string) string {
	verb, on, _ := strings.Cut(step, " ")
	switch verb {
	case "probe", "stop", "remove", "write":
		return "" // these tell nothing
	case "start", "wait", "rename":
		return fmt.Sprint(w.servers[strings.TrimPrefix(on, "for ")])
	case "create":
		return fmt.Sprint(w.next, slices.ContainsFunc(slices.Collect(maps.Values(w.servers)), func(s *engine.Server) bool { return s.Name == on }))
	}
	return w.state()
}

func (w *raceWorld) key() string {
	key := w.state()
	for _, r := range w.racers {
		key += "|" + r.history
	}
	return key
}

// race lets racers run by a list of choices, and gives how many there were at each
// step. Where a state was seen before, what follows is not tried again.
func race(w *raceWorld, specs []engine.Spec, choices []int, seen map[string]bool) (options []int) {
	w.parked, w.claimed, w.wanted = make(chan *racer), map[string]*racer{}, map[string]bool{}
	for n, spec := range specs {
		w.wanted[spec.RunDigest()] = true
		r := &racer{w: w, n: n, at: make(chan struct{})}
		w.racers = append(w.racers, r)
		go r.run(spec)
		<-w.parked
	}
	w.check()
	for {
		var can []*racer
		left := 0
		for _, r := range w.racers {
			if !r.done {
				left++
				if r.ready == nil || r.ready() {
					can = append(can, r)
				}
			}
		}
		if left == 0 {
			return options
		}
		if len(can) == 0 {
			w.wrong = "nobody can go on"
			return options
		}
		choice := 0
		if len(options) < len(choices) {
			choice = choices[len(options)]
		}
		tried := len(can)
		if len(options) >= len(choices) && tried > 1 {
			if key := w.key(); seen[key] {
				tried = 1
			} else {
				seen[key] = true
			}
		}
		options = append(options, tried)
		r := can[choice]
		r.note(r.what)
		w.trace = append(w.trace, fmt.Sprintf("%d %s", r.n, r.what))
		r.at <- struct{}{}
		<-w.parked
		w.check()
		if w.wrong != "" {
			return options // the racers stay parked; the test ends
		}
	}
}

// nextChoices is the next list in depth-first order; false after the last.
func nextChoices(choices, options []int) ([]int, bool) {
	full := append(slices.Clone(choices), make([]int, len(options)-len(choices))...)
	for i := len(full) - 1; i >= 0; i-- {
		if full[i]+1 < options[i] {
			full[i]++
			return full[:i+1], true
		}
	}
	return nil, false
}

func TestRace(t *testing.T) {
	t.Parallel()
	want, other := raceSpec("sha256:new"), raceSpec("sha256:other")
	tells := func(id string, started time.Time) map[string]handoff.Handoff {
		return map[string]handoff.Handoff{raceID.HandoffFile(): {EngineID: "E", URL: "http://" + id, Container: handoff.Container{ID: id}, StartedAt: started}}
	}
	long := raceNow.Add(-time.Hour)
	with := func(s engine.Server, change ...func(*engine.Server)) map[string]*engine.Server {
		for _, c := range change {
			c(&s)
		}
		return map[string]*engine.Server{s.ID: &s}
	}
	dead := func(s *engine.Server) { s.State.Status, s.State.Running = "exited", false }
	for name, c := range map[string]struct {
		specs   []engine.Spec
		servers map[string]*engine.Server
		files   map[string]handoff.Handoff
	}{
		"nothing there":                     {[]engine.Spec{want, want}, nil, nil},
		"a stale handoff":                   {[]engine.Spec{want, want}, nil, tells("gone", long)},
		"it runs":                           {[]engine.Spec{want, want}, with(raceServer(want, "own")), tells("own", long)},
		"it runs unknown":                   {[]engine.Spec{want, want}, with(raceServer(want, "own")), nil},
		"another image runs":                {[]engine.Spec{want, want}, with(raceServer(other, "own")), tells("own", long)},
		"a dead one":                        {[]engine.Spec{want, want}, with(raceServer(want, "own"), dead), nil},
		"different runs":                    {[]engine.Spec{want, other}, nil, nil},
		"one replaces what the other wants": {[]engine.Spec{want, other}, with(raceServer(other, "own")), tells("own", long)},
	} {
		for _, shared := range []bool{true, false} {
			if !shared && c.specs[0].RunDigest() != c.specs[1].RunDigest() {
				continue // that is what the locks are for
			}
			t.Run(fmt.Sprintf("%s, shared locks %v", name, shared), func(t *testing.T) {
				t.Parallel()
				var choices []int
				seen := map[string]bool{}
				for n := 1; ; n++ {
					w := &raceWorld{shared: shared, servers: map[string]*engine.Server{}, files: map[string]handoff.Handoff{}}
					for id, s := range c.servers {
						own := *s
						w.servers[id] = &own
					}
					maps.Copy(w.files, c.files)
					options := race(w, c.specs, choices, seen)
					if problem := w.outcome(); problem != "" {
						t.Fatalf("order %d: %s, after\n  %s", n, problem, strings.Join(w.trace, "\n  "))
					}
					var more bool
					if choices, more = nextChoices(choices, options); !more {
						t.Logf("%d orders", n)
						return
					}
				}
			})
		}
	}
}

// outcome is what is wrong in the end; "" for nothing.
func (w *raceWorld) outcome() string {
	if w.wrong != "" {
		return w.wrong
	}
	for _, r := range w.racers {
		if r.err != nil {
			return fmt.Sprintf("run %d failed: %v", r.n, r.err)
		}
	}
	if len(w.servers) != 1 {
		return fmt.Sprintf("%d servers are left", len(w.servers))
	}
	for _, s := range w.servers {
		if !w.wanted[s.RunDigest] || !s.State.Running || s.Name != raceID.Name() || w.files[raceID.HandoffFile()].Container.ID != s.ID {
			return fmt.Sprintf("left is %+v with the handoff %+v", *s, w.files)
		}
	}
	return ""
}
