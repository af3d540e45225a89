package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/health"
	"github.com/llorch/llorch-bk/runtime/pool"
	"github.com/llorch/llorch-bk/runtime/replica"
)

// Two runs of one pool, in every order in which a scheduler can let their steps
// happen: each look, probe, claim, creation, stop, removal and writing of a handoff
// is a step. The real planner, executor and operations run on a
// world in memory.
//
// After each step: never two servers that run, never a handoff without a server that
// runs, and never is the handoff of the wanted server lost.

var raceID = replica.ID{Project: "/p", Pool: "default", Replica: "r0"}

// racer is one run.
type racer struct {
	w *raceWorld
	n int
	// at is where it waits for its turn; ready says whether it can go on, nil for yes.
	at    chan struct{}
	ready func() bool
	what  string
	done  bool
	err   error
	// looked is the version of the world that it saw last.
	looked int
	// history is all that its next step can depend on: its steps and what it saw.
	history string
}

// raceWorld is an engine and a folder of handoffs. Only one racer is let run at a
// time, so nothing of it is locked.
type raceWorld struct {
	racers  []*racer
	parked  chan *racer
	version int
	next    int
	servers map[string]*engine.Server
	files   map[string]handoff.Handoff
	claimed map[string]*racer
	// shared is whether the racers share their locks, as on one machine.
	shared bool
	wanted map[string]bool // run digests
	trace  []string
	wrong  string
	// promised is the server whose handoff was seen, and must stay while it runs.
	promised string
}

// turns are the steps between which the other may come, unless LLORCH_RACES=all
// (make soak) makes it all of them.
var turns = []string{"find", "probe", "create", "remove", "stop", "write", "claim", "pause"}

// step waits until it is the racer's turn.
func (r *racer) step(what string, ready func() bool) {
	verb, _, _ := strings.Cut(what, " ")
	if !slices.Contains(turns, verb) && os.Getenv("LLORCH_RACES") != "all" {
		r.w.trace = append(r.w.trace, fmt.Sprintf("%d %s", r.n, what))
		r.note(what)
		return
	}
	r.what, r.ready = what, ready
	r.w.parked <- r
	<-r.at
}

// note adds a step to what the racer's next steps depend on.
func (r *racer) note(what string) {
	sum := sha256.Sum256([]byte(r.history + what + r.w.result(what)))
	r.history = string(sum[:])
}

func (r *racer) changed() { r.w.version++ }

// check finds what must never be.
func (w *raceWorld) check() {
	running := 0
	for _, s := range w.servers {
		if s.State.Running {
			running++
		}
	}
	fail := func(format string, a ...any) {
		if w.wrong == "" {
			w.wrong = fmt.Sprintf(format, a...)
		}
	}
	if running > 1 {
		fail("%d servers run", running)
	}
	for file, h := range w.files {
		s := w.servers[h.Container.ID]
		if h.Container.ID != "gone" && (s == nil || !s.State.Running) {
			fail("%s tells of %s, which does not run", file, h.Container.ID)
		}
		if s != nil && w.wanted[s.RunDigest] && len(w.wanted) == 1 {
			w.promised = s.ID
		}
	}
	if s := w.servers[w.promised]; s != nil && s.State.Running && w.files[raceID.HandoffFile()].Container.ID != w.promised {
		fail("the handoff of %s is lost", w.promised)
	}
}

// raceEngine is the world's engine as one racer has it.
type raceEngine struct{ r *racer }

func (e raceEngine) Facts(context.Context) (engine.Facts, error) { return engine.Facts{ID: "E"}, nil }

func (e raceEngine) Observe(_ context.Context, project string, names ...string) ([]engine.Server, error) {
	w := e.r.w
	e.r.step("find", nil)
	e.r.looked = w.version
	var out []engine.Server
	for _, id := range slices.Sorted(maps.Keys(w.servers)) {
		if s := w.servers[id]; s.Project == project || slices.Contains(names, s.Name) {
			out = append(out, *s)
		}
	}
	return out, nil
}

func (e raceEngine) PortHolder(context.Context, string, int) (engine.Holder, error) {
	return engine.Holder{}, nil
}

func (e raceEngine) Devices(context.Context, engine.Spec) (engine.Devices, error) {
	e.r.step("probe", nil)
	return engine.Devices{Lines: []string{"  CUDA0: NVIDIA X (1 MiB, 1 MiB free)"}, Given: true}, nil
}

func (e raceEngine) Linked(context.Context, engine.Spec, string) []string { return nil }

func (e raceEngine) Prepare(_ context.Context, s engine.Spec) (engine.Prepared, error) {
	return racePrepared{e, s}, nil
}

type racePrepared struct {
	raceEngine
	spec engine.Spec
}

func (p racePrepared) Create(_ context.Context, standby bool) (engine.Server, error) {
	w := p.r.w
	name := p.spec.Of().Name()
	if standby {
		name = p.spec.Of().StandbyName()
	}
	p.r.step("create "+name, nil)
	for _, s := range w.servers {
		if s.Name == name {
			return engine.Server{}, engine.ErrTaken
		}
	}
	p.r.changed()
	w.next++
	s := raceServer(p.spec, fmt.Sprintf("c%d", w.next))
	s.Name, s.Standby = name, standby
	s.State = engine.State{Status: "created", CreatedAt: raceNow}
	w.servers[s.ID] = &s
	return s, nil
}

func (e raceEngine) Start(_ context.Context, s engine.Server) (engine.Server, error) {
	e.r.step("start "+s.ID, nil)
	have := e.r.w.servers[s.ID]
	if have == nil {
		return s, errors.New("no such container")
	}
	e.r.changed()
	have.State = engine.State{Status: "running", Running: true, CreatedAt: have.State.CreatedAt, StartedAt: raceNow}
	return *have, nil
}

func (e raceEngine) Promote(_ context.Context, s engine.Server) (engine.Server, error) {
	e.r.step("rename "+s.ID, nil)
	have := e.r.w.servers[s.ID]
	if have == nil {
		return s, engine.ErrGone
	}
	for _, o := range e.r.w.servers {
		if o.ID != s.ID && o.Name == s.Of().Name() {
			return s, engine.ErrTaken
		}
	}
	e.r.changed()
	have.Name, have.Standby = s.Of().Name(), false
	return *have, nil
}

func (e raceEngine) Stop(_ context.Context, s engine.Server, _ time.Duration) error {
	e.r.step("stop "+s.ID, nil)
	if have := e.r.w.servers[s.ID]; have != nil && have.State.Running {
		e.r.changed()
		have.State.Status, have.State.Running = "exited", false
	}
	return nil
}

func (e raceEngine) Remove(_ context.Context, s engine.Server, _ time.Duration) error {
	e.r.step("remove "+s.ID, nil)
	if e.r.w.servers[s.ID] != nil {
		e.r.changed()
		delete(e.r.w.servers, s.ID)
	}
	return nil
}

func (e raceEngine) Logs(_ context.Context, _ engine.Server, out io.Writer, _ engine.LogOptions) error {
	_, err := io.WriteString(out, proof)
	return err
}

func (e raceEngine) Watch(context.Context, engine.Server) engine.Watch { return nil }

// raceFiles are the world's handoffs as one racer has them.
type raceFiles struct{ r *racer }

func (f raceFiles) List(string) ([]handoff.Entry, error) {
	f.r.step("list the handoffs", nil)
	var out []handoff.Entry
	for _, h := range f.r.w.files {
		out = append(out, handoff.Entry{Path: "/p/" + raceID.HandoffFile(), Pool: raceID.Pool, Replica: raceID.Replica, Handoff: h})
	}
	return out, nil
}

func (f raceFiles) Write(_ string, h handoff.Handoff) (string, error) {
	f.r.step("write the handoff of "+h.Container.ID, nil)
	f.r.changed()
	f.r.w.files[raceID.HandoffFile()] = h
	return "/p/" + raceID.HandoffFile(), nil
}

func (f raceFiles) Remove(_, _, _, container string) error {
	f.r.step("remove the handoff of "+container, nil)
	if f.r.w.files[raceID.HandoffFile()].Container.ID == container {
		f.r.changed()
		delete(f.r.w.files, raceID.HandoffFile())
	}
	return nil
}

// raceClaims are shared by the racers, or each has its own.
type raceClaims struct{ r *racer }

func (c raceClaims) Acquire(_ context.Context, id replica.ID, _ func()) (func(), error) {
	w, name := c.r.w, id.Name()
	if !w.shared {
		return func() {}, nil
	}
	c.r.step("claim", func() bool { return w.claimed[name] == nil })
	w.claimed[name] = c.r
	return func() { w.claimed[name] = nil }, nil
}

func (c raceClaims) Try(replica.ID) (func(), error) { return nil, errors.New("a run waits") }

var raceNow = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func raceSpec(image string) engine.Spec {
	return engine.Spec{
		Project: raceID.Project, Pool: raceID.Pool, Replica: raceID.Replica, Image: image, GPUs: "all", Device: "CUDA",
		Labels: map[string]string{engine.LabelDeviceMask: "all"},
	}
}

func raceServer(s engine.Spec, id string) engine.Server {
	return engine.Server{
		ID: id, Name: s.Of().Name(), Project: s.Project, Pool: s.Pool, Replica: s.Replica, RunDigest: s.RunDigest(), Image: s.Image,
		URL: "http://" + id, Labels: s.Labels, State: engine.State{Status: "running", Running: true, StartedAt: raceNow.Add(-time.Hour), CreatedAt: raceNow.Add(-time.Hour)},
	}
}

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
