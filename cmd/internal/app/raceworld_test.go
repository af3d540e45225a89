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
	"time"

	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/replica"
)

// The world of TestRace: an engine, a folder of handoffs and locks in memory, and the
// runs that change it by turns.

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

func (e raceEngine) Try(context.Context, engine.Spec, time.Duration) error { return nil }

func (e raceEngine) Help(context.Context, engine.Spec) ([]string, error) { return nil, nil }

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
