package app

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/model"
	"github.com/llorch/llorch-bk/runtime/pool"
	"github.com/llorch/llorch-bk/runtime/replica"
)

// DefaultModel is half a gigabyte large, follows instructions and is free to use
// (Apache-2.0). It runs on any machine.
const DefaultModel = "hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF/qwen2.5-0.5b-instruct-q4_k_m.gguf"

// DefaultHandoffDir is the folder where consumers look, relative to the working folder.
const DefaultHandoffDir = ".runtime/engines"

// grace is how long a replaced or failed server may take to end before it is killed.
const grace = 10 * time.Second

// RunOptions is a run as the user asked for it.
type RunOptions struct {
	Pool, Replica string
	// HandoffDir is the folder of the handoff, absolute or relative.
	HandoffDir string
	// Image is a name or id; empty for the newest image that was built here.
	Image string
	// Model is a model ref. ModelGiven is true if it was given on the command line, and is
	// not a default or a setting.
	Model      string
	ModelGiven bool
	// Company is what belongs to the model.
	Company
	// Server are the flags for llama-server.
	Server []string
	// Port is the host's port; 0 chooses a free one and keeps it.
	Port   int
	Listen string
	// Ctx is the context size in tokens; 0 for the model's own.
	Ctx int
	// Timeout bounds a start that makes progress, StallTimeout one that makes none.
	Timeout, StallTimeout time.Duration
	// GPUs is all, none or a list; empty for the default of the image's variant.
	GPUs string
	// AllowCPU runs on the CPU if the GPU cannot be used.
	AllowCPU bool
	// Trust serves a model from outside without a trial.
	Trust bool
	// Memory is a size such as 8g; empty for no limit.
	Memory  string
	CPUs    float64
	Restart string
}

// Running is a ready server.
type Running struct {
	Handoff     handoff.Handoff
	HandoffPath string
	// Already is true if the pool ran the same server before.
	Already bool
}

// checkRun validates a run, connects to the engine and finds the image. The caller closes
// the engine.
func (a *App) checkRun(ctx context.Context, opt RunOptions) (req checkedRun, eng *dockerEngine, img imageOf, err error) {
	if req, err = check(opt); err != nil {
		return req, nil, img, err
	}
	if eng, err = a.engine(ctx); err != nil {
		return req, nil, img, err
	}
	if err = reach(eng, req); err == nil {
		img, err = eng.choose(ctx, opt.Image)
	}
	if err == nil {
		err = eng.runsPlatform(ctx, img.Platform, "the image "+img.Ref)
	}
	if err != nil {
		eng.Close()
		return req, nil, img, interrupted(ctx, err)
	}
	return req, eng, img, nil
}

// Run serves a model in a pool and writes the handoff. A pool that already runs the same
// server is left alone; another server is replaced.
func (a *App) Run(ctx context.Context, opt RunOptions) (Running, error) {
	req, eng, img, err := a.checkRun(ctx, opt)
	if err != nil {
		return Running{}, err
	}
	defer eng.Close()
	d, err := OpenDisplay(a.Err, a.Progress)
	if err != nil {
		return Running{}, err
	}
	defer d.Close()
	w := &runner{a: a, d: d, eng: eng, r: req, onGPU: req.gpus(img) != ""}
	defer w.release()
	local, err := w.fetch(ctx)
	if err != nil {
		return Running{}, interrupted(ctx, err)
	}
	r, err := a.launch(ctx, w, img, local)
	return r, interrupted(ctx, err)
}

// reach refuses an engine on another machine, unless the user names an address to listen
// on.
func reach(eng *dockerEngine, r checkedRun) error {
	if eng.local || r.Listen != engine.DefaultListen {
		return nil
	}
	return fault.New(fault.Machine, "the engine at "+eng.at.Host+" is another machine", errors.New("a server on its 127.0.0.1 cannot be reached from here"),
		"name an address of that machine with `listen`; everyone who can reach that address can then use the server")
}

// modelProgress shows a fetch in the display.
type modelProgress struct{ d *Display }

func (p modelProgress) Begin(name string, total int64) model.Task { return p.d.Begin(name, total) }

// launch starts the server, unless it runs already, and waits until it is ready.
func (a *App) launch(ctx context.Context, w *runner, img imageOf, m model.Local) (Running, error) {
	if err := w.eng.runsHere(img, engineArch(ctx, w.eng)); err != nil {
		return Running{}, err
	}
	eng := w.eng.servers(w.d)
	r, err := w.a.introduce(ctx, eng, w.r, img, m)
	if err != nil {
		return Running{}, err
	}
	want, err := r.wanted(img, m)
	if err != nil {
		return Running{}, err
	}
	known, why, err := a.trial(w.r, m)
	if err != nil {
		return Running{}, err
	}
	want.Try = why
	facts, err := eng.Facts(ctx)
	if err != nil {
		return Running{}, err
	}
	ops := w.eng.operations(w.d, eng, facts.ID)
	ops.labels, ops.timeout, ops.stallTimeout = img.Labels, w.r.Timeout, w.r.StallTimeout
	ops.tryLimit, ops.tried = tryLimit(m.Size), func() error { return known.add(img) }
	l := launcher{
		claims: a.claims(), look: w.eng.observer(eng), ops: ops,
		busy: func() { w.d.notice("waiting for another llorch-bk that is changing pool " + want.Spec.Pool) },
		first: func() {
			w.onGPU = want.Spec.GPUs != ""
			w.fits(ctx, m.Header())
		},
	}
	return l.bring(ctx, want)
}

// launcher brings one replica to its desired state.
type launcher struct {
	claims claims
	look   observer
	ops    *operations
	// busy is called before waiting for another process, first before the first server is
	// started.
	busy, first func()
}

// rounds is how often to observe again because a process without our locks acted first.
// Each round waits for that process.
const rounds = 100

// bring makes plans and executes them until one plan was executed completely.
func (l launcher) bring(ctx context.Context, want pool.Wanted) (Running, error) {
	id := want.Spec.Of()
	release, err := l.claims.Acquire(ctx, id, l.busy)
	if err != nil {
		return Running{}, err
	}
	defer release()
	for range rounds {
		seen, err := l.look.run(ctx, want.Spec)
		if err != nil {
			return Running{}, err
		}
		plan := pool.Run(want, seen)
		if l.first != nil && plan.Starts() {
			l.first()
			l.first = nil
		}
		started, err := plan.Execute(ctx, l.ops)
		if ctx.Err() == nil && (errors.Is(err, engine.ErrTaken) || errors.Is(err, pool.ErrAgain)) {
			continue
		}
		if err != nil {
			return Running{}, err
		}
		running, err := l.running(id)
		running.Already = started.ID == ""
		return running, err
	}
	return Running{}, fault.New(fault.Engine, "pool "+id.String()+" keeps changing", errors.New("other processes start and stop its servers"), "stop the other processes; `docker ps -a` shows the containers")
}

// running reads the replica's handoff.
func (l launcher) running(id replica.ID) (Running, error) {
	all, err := l.ops.files.List(id.Project)
	for _, e := range all {
		if e.Pool == id.Pool && e.Replica == id.Replica && e.Err == nil {
			return Running{Handoff: e.Handoff, HandoffPath: e.Path}, nil
		}
	}
	return Running{}, errors.Join(err, fault.New(fault.Unexpected, "the handoff of pool "+id.String()+" is missing", errors.New("another program removed it after it was written"), "write it again with llorch-bk ps"))
}

// engineArch is the architecture of the engine's machine, in Go's spelling.
func engineArch(ctx context.Context, eng *dockerEngine) string {
	v, err := eng.client.ServerVersion(ctx)
	if err != nil {
		return ""
	}
	return strings.ToLower(v.Arch)
}

// oneLine is a fault's What and Why on one line, for the display.
func oneLine(err error) string {
	var f *fault.Fault
	if !errors.As(err, &f) || f.Why == nil {
		return err.Error()
	}
	return f.What + ": " + strings.ReplaceAll(f.Why.Error(), "\n", "; ")
}
