package app

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/health"
	"github.com/llorch/llorch-bk/runtime/pool"
)

// files are a project's handoffs. Tests keep them in memory.
type files interface {
	List(project string) ([]handoff.Entry, error)
	Write(project string, h handoff.Handoff) (string, error)
	Remove(project, pool, replica, container string) error
}

// folder implements files on disk.
type folder struct{}

func (folder) List(project string) ([]handoff.Entry, error) { return handoff.List(project) }
func (folder) Write(project string, h handoff.Handoff) (string, error) {
	return handoff.Write(project, h)
}

func (folder) Remove(project, pool, replica, container string) error {
	return handoff.Remove(project, pool, replica, container)
}

// observer collects the state that a plan is made from.
type observer struct {
	eng   engine.Observer
	host  string // the engine's address in handoffs
	files files
	now   func() time.Time
	// step asks a server for its state of readiness.
	step func(ctx context.Context, url string) health.Step
}

func (e *dockerEngine) observer(eng engine.Observer) observer {
	return observer{eng: eng, host: e.remote(), files: folder{}, now: time.Now, step: health.Look}
}

// project observes a project's servers and handoffs, and the containers with further names.
func (o observer) project(ctx context.Context, project string, names ...string) (pool.Seen, error) {
	entries, err := o.files.List(project)
	if err != nil {
		return pool.Seen{}, err
	}
	facts, err := o.eng.Facts(ctx)
	if err != nil {
		return pool.Seen{}, err
	}
	seen := pool.Seen{At: o.now(), Engine: facts.ID, EngineHost: o.host, CPUs: facts.CPUs, Handoffs: handoffs(entries)}
	for _, h := range seen.Handoffs {
		// The handoff's server may belong to another project, if a folder was copied.
		if h.Container != "" {
			names = append(names, h.Container)
		}
	}
	seen.Servers, err = o.eng.Observe(ctx, project, names...)
	return seen, err
}

// handoffs converts handoff files for a plan.
func handoffs(entries []handoff.Entry) []pool.Handoff {
	var out []pool.Handoff
	for _, e := range entries {
		h := pool.Handoff{
			Path: e.Path, Pool: e.Pool, Replica: e.Replica, Container: e.Handoff.Container.ID, StartedAt: e.Handoff.StartedAt,
			URL: e.Handoff.URL, Engine: e.Handoff.EngineID, EngineHost: e.Handoff.EngineHost,
		}
		if e.Err != nil {
			h.Broken = e.Err.Error()
		}
		out = append(out, h)
	}
	return out
}

// run observes everything that a run plan depends on.
func (o observer) run(ctx context.Context, spec engine.Spec) (pool.Seen, error) {
	id := spec.Of()
	seen, err := o.project(ctx, id.Project, id.Name(), id.StandbyName())
	if err != nil {
		return seen, err
	}
	if spec.Port != 0 {
		if seen.Port, err = o.eng.PortHolder(ctx, spec.Listen, spec.Port); err != nil {
			return seen, err
		}
	}
	for i := range seen.Handoffs {
		h := &seen.Handoffs[i]
		known := slices.ContainsFunc(seen.Servers, func(s engine.Server) bool { return s.ID == h.Container })
		if filepath.Base(h.Path) == id.HandoffFile() && !known && h.Broken == "" && (h.Engine == "" || h.Engine != seen.Engine) {
			h.Answers = o.step(ctx, h.URL) != health.Starting
		}
	}
	return seen, nil
}

// startingFor is how long after its start a silent server still counts as starting.
const startingFor = time.Minute

// answers asks each running server for its health: those of a project, or all if project is
// empty.
func (o observer) answers(ctx context.Context, seen *pool.Seen) error {
	seen.Health = map[string]pool.Health{}
	for _, s := range seen.Servers {
		if !s.State.Running || s.Foreign {
			continue
		}
		step := o.step(ctx, s.URL)
		if ctx.Err() != nil {
			// An interrupted request says nothing about the server.
			return context.Cause(ctx)
		}
		switch {
		case step == health.Ready:
			seen.Health[s.ID] = pool.Ready
		case step == health.Loading, seen.At.Sub(s.State.StartedAt) < startingFor:
			seen.Health[s.ID] = pool.Loading
		default:
			seen.Health[s.ID] = pool.Silent
		}
	}
	return nil
}
