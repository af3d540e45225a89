package app

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/health"
	"github.com/llorch/llorch-bk/runtime/model"
)

// DefaultModel is small, instructable and free to use (Apache-2.0): half a
// gigabyte that answers sensibly on any machine.
const DefaultModel = "hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF/qwen2.5-0.5b-instruct-q4_k_m.gguf"

// DefaultHandoffDir is where consumers look, relative to the working folder.
const DefaultHandoffDir = ".runtime/engines"

// grace is how long a server that is replaced or cleaned up may take to end.
const grace = 10 * time.Second

// RunOptions are what the user asked of a run.
type RunOptions struct {
	Pool, Replica string
	// HandoffDir is the folder of the handoff, absolute or not.
	HandoffDir string
	// Image is a name or id; empty takes the newest image that was built here.
	Image string
	// Model is a model ref. ModelGiven says that this command was given it, rather than
	// a default or the settings.
	Model      string
	ModelGiven bool
	// Server are the flags for llama-server.
	Server []string
	// Port is the host's port; 0 takes a free one and keeps it.
	Port   int
	Listen string
	// Ctx is the context size in tokens, 0 the model's own.
	Ctx int
	// Timeout bounds a start that makes progress, StallTimeout one that makes none.
	Timeout, StallTimeout time.Duration
	// GPUs is all, none, a list, or empty for what the image's variant says.
	GPUs string
	// AllowCPU runs on the CPU where the GPU cannot be used.
	AllowCPU bool
	// Memory is a size such as 8g, empty for no limit.
	Memory  string
	CPUs    float64
	Restart string
}

// Running is a server that is ready.
type Running struct {
	Handoff     handoff.Handoff
	HandoffPath string
	// Already is true where the pool ran the same thing before.
	Already bool
}

// Run brings a pool to serve a model and writes its handoff. A pool that runs
// the same thing already is left alone; one that runs another is replaced.
func (a *App) Run(ctx context.Context, opt RunOptions) (Running, error) {
	req, err := check(opt)
	if err != nil {
		return Running{}, err
	}
	eng, err := a.engine(ctx)
	if err != nil {
		return Running{}, err
	}
	defer eng.Close()
	if err := reach(eng, req); err != nil {
		return Running{}, err
	}
	img, err := eng.choose(ctx, opt.Image)
	if err == nil {
		err = eng.runsPlatform(ctx, img.Platform, "the image "+img.Ref)
	}
	if err != nil {
		return Running{}, interrupted(ctx, err)
	}
	d, err := OpenDisplay(a.Err, a.Progress)
	if err != nil {
		return Running{}, err
	}
	defer d.Close()
	w := &runner{a: a, d: d, eng: eng, r: req, onGPU: req.gpus(img) != ""}
	local, err := w.fetch(ctx)
	if err != nil {
		return Running{}, interrupted(ctx, err)
	}
	r, err := a.launch(ctx, w, img, local)
	return r, interrupted(ctx, err)
}

// reach refuses an engine whose loopback is not ours, unless the user says
// where its ports can be reached.
func reach(eng *dockerEngine, r request) error {
	if eng.local || r.Listen != engine.DefaultListen {
		return nil
	}
	return fault.New(fault.Machine, "the engine at "+eng.at.Host+" is another machine", errors.New("a server on its 127.0.0.1 cannot be reached from here"),
		"name an address of that machine with --listen; the server then listens there for whoever can reach it")
}

// modelProgress shows a fetch in the display.
type modelProgress struct{ d *Display }

func (p modelProgress) Begin(name string, total int64) model.Task { return p.d.Begin(name, total) }

// launch brings the pool to the wanted state and proves that it is ready.
func (a *App) launch(ctx context.Context, w *runner, img imageOf, m model.Local) (Running, error) {
	d, eng, r := w.d, w.eng, w.r
	arch := engineArch(ctx, eng)
	if err := eng.runsHere(img, arch); err != nil {
		return Running{}, err
	}
	spec, err := r.specOf(img, m)
	if err != nil {
		return Running{}, err
	}
	var copying *Step
	docker := engine.New(eng.client, eng.at, func(done, total int64) {
		if copying == nil {
			copying = d.Begin("copy the model into the engine", total)
		}
		copying.Set(done)
		if done == total {
			copying.End(nil)
		}
	})
	old, err := docker.Find(ctx, r.HandoffDir, r.Pool, r.Replica)
	if err != nil {
		return Running{}, err
	}
	if old != nil && old.State.Running && old.RunDigest == spec.RunDigest() {
		running, err := a.ready(ctx, d, eng, old, r, false)
		running.Already = true
		return running, err
	}
	if spec.GPUs != "" {
		if err := a.findGPU(ctx, d, eng, docker, &spec, img); err != nil {
			if !r.AllowCPU || fault.ClassOf(err) != fault.Engine || ctx.Err() != nil {
				return Running{}, err
			}
			d.notice("the GPU cannot be used, so the server runs on the CPU: " + oneLine(err))
			r.GPUs = "none"
			if spec, err = r.specOf(img, m); err != nil {
				return Running{}, err
			}
			if old != nil && old.State.Running && old.RunDigest == spec.RunDigest() {
				running, err := a.ready(ctx, d, eng, old, r, false)
				running.Already = true
				return running, err
			}
		}
	}
	w.onGPU = spec.GPUs != ""
	w.fits(ctx, m.Header())
	if old != nil {
		if err := a.replace(ctx, d, old, &spec); err != nil {
			return Running{}, err
		}
	}
	// A handoff without its container is a lie, whoever left it.
	if err := handoff.Remove(r.HandoffDir, r.Pool, r.Replica); err != nil {
		return Running{}, err
	}
	var started *engine.Instance
	err = d.Do("start "+spec.Name(), func(*Step) error {
		started, err = docker.Start(ctx, spec)
		return err
	})
	if err != nil {
		return Running{}, err
	}
	running, err := a.ready(ctx, d, eng, started, r, true)
	if r.AllowCPU && errors.Is(err, errUnproven) {
		// What did not prove itself is gone; the same without a GPU may take its place.
		d.notice("the GPU is not used, so the server runs on the CPU: " + oneLine(err))
		w.r.GPUs = "none"
		return a.launch(ctx, w, img, m)
	}
	return running, err
}

// replace ends what the pool ran before; its port is kept where it may be.
func (a *App) replace(ctx context.Context, d *Display, old *engine.Instance, spec *engine.Spec) error {
	if spec.Port == 0 {
		spec.PreferPort = old.Port
	}
	return d.Do("stop what "+old.Pool+" ran before", func(*Step) error {
		if err := handoff.Remove(old.Project, old.Pool, old.Replica); err != nil {
			return err
		}
		return old.Stop(ctx, grace)
	})
}

// ready waits for a server and writes its handoff. A server that does not get
// there is removed, so that a failed run leaves nothing behind; but Ctrl-C and
// impatience end only what this run started: another may still be waiting for it.
func (a *App) ready(ctx context.Context, d *Display, eng *dockerEngine, i *engine.Instance, r request, started bool) (Running, error) {
	var out Running
	err := d.Do("wait until "+i.URL+" is healthy", func(s *Step) error {
		watching, stop := context.WithCancel(ctx)
		defer stop()
		var last health.Step
		return health.Wait(ctx, i.Watch(watching), health.Options{
			Timeout: r.Timeout, StallTimeout: r.StallTimeout,
			Progress: func(p health.Phase) {
				if p.Step != last {
					last = p.Step
					s.Note(string(p.Step))
				}
			},
		})
	})
	if err == nil {
		err = d.Do("write the handoff", func(*Step) error {
			out, err = writeHandoff(ctx, eng, i)
			return err
		})
	}
	if err == nil || !started && (ctx.Err() != nil || fault.ClassOf(err) == fault.NotReady || errors.Is(err, errUnproven)) {
		return out, err
	}
	cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*grace)
	defer cancel()
	if rerr := errors.Join(handoff.Remove(i.Project, i.Pool, i.Replica), i.Stop(cleaning, time.Second)); rerr != nil {
		d.notice("cleaning up failed, do it by hand: docker rm -f " + i.Name + ": " + rerr.Error())
	}
	return Running{}, err
}

// engineArch is the architecture of the engine's machine in Go's spelling.
func engineArch(ctx context.Context, eng *dockerEngine) string {
	v, err := eng.client.ServerVersion(ctx)
	if err != nil {
		return ""
	}
	return strings.ToLower(v.Arch)
}

// oneLine is a fault's what and why, for a line of the display.
func oneLine(err error) string {
	var f *fault.Fault
	if !errors.As(err, &f) || f.Why == nil {
		return err.Error()
	}
	return f.What + ": " + strings.ReplaceAll(f.Why.Error(), "\n", "; ")
}
