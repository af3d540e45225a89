package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/base"
	"github.com/llorch/llorch-bk/runtime/doctor"
	"github.com/llorch/llorch-bk/runtime/engine/docker"
)

// registryPatience bounds the question whether a registry has an image.
const registryPatience = 20 * time.Second

// SetupOptions configure setup.
type SetupOptions struct {
	// Yes installs without asking.
	Yes bool
}

// Setup prepares this machine to build and run: a working engine, and a base image if no
// registry has one. Running it again changes nothing.
func (a *App) Setup(ctx context.Context, opt SetupOptions) error {
	return interrupted(ctx, a.setup(ctx, opt))
}

func (a *App) setup(ctx context.Context, opt SetupOptions) error {
	if err := a.prepareMachine(ctx, opt, doctor.Want{Engine: true, Git: true}); err != nil {
		return err
	}
	api, at, err := docker.Discover(ctx, docker.Options{Getenv: a.Getenv})
	if err != nil {
		return err
	}
	defer api.Close()
	info, err := doctor.AskEngine(ctx, api)
	if err != nil {
		return fault.New(fault.Machine, "the Docker engine does not report its version", err, "")
	}
	a.say("engine  Docker %s at %s (%s)", info.Version, at.Host, at.Source)
	return a.setupBase(ctx, opt, api, at.Local)
}

// setupBase makes the catalogue's CPU base image available: from the engine, from its
// registry, or bootstrapped here.
func (a *App) setupBase(ctx context.Context, opt SetupOptions, api *client.Client, local bool) error {
	choice, err := images.Choose(images.Request{Variant: "cpu"}, images.Facts{})
	if err != nil {
		return err
	}
	v := choice.Variant
	if _, err := api.ImageInspect(ctx, v.BuildBase); err == nil {
		a.say("base    %s, in the engine", v.BuildBase)
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, registryPatience)
	defer cancel()
	_, registryErr := api.DistributionInspect(asking, v.BuildBase, "")
	if registryErr == nil {
		a.say("base    %s, from its registry", v.BuildBase)
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !local || runtime.GOOS != "linux" {
		return fault.New(fault.Machine, "the base image "+v.BuildBase+" is not available", registryErr, "give the engine access to the registry, or name another image with --base")
	}
	cache, err := a.CacheDir()
	if err != nil {
		return err
	}
	b, ok, err := base.Find(basesDir(cache), base.DefaultSuite, runtime.GOARCH)
	if err != nil && !errors.Is(err, base.ErrDamaged) {
		return err
	}
	if !ok || err != nil {
		a.say("base    cannot get %s from its registry; bootstrapping Debian %s from the distribution's packages", v.BuildBase, base.DefaultSuite)
		if err := a.prepareMachine(ctx, opt, doctor.Want{Bootstrap: true}); err != nil {
			return err
		}
		if b, err = a.bootstrap(ctx, cache); err != nil {
			return err
		}
	}
	if err := b.LoadInto(ctx, api); err != nil {
		return err
	}
	a.say("base    %s, bootstrapped here", b.Ref)
	return nil
}

func (a *App) bootstrap(ctx context.Context, cache string) (b base.Base, err error) {
	d, err := OpenDisplay(a.Err, a.Progress)
	if err != nil {
		return b, err
	}
	defer d.Close()
	return b, d.Do("bootstrap Debian "+base.DefaultSuite, func(s *Step) error {
		b, err = base.Bootstrap(ctx, base.Options{Dir: basesDir(cache), Log: s.Note})
		return err
	})
}

// prepareMachine installs and starts what want needs, as far as the user consents.
func (a *App) prepareMachine(ctx context.Context, opt SetupOptions, want doctor.Want) error {
	host, err := a.host()
	if err != nil {
		return err
	}
	steps := doctor.Plan(doctor.Inspect(ctx, host), want)
	consent := doctor.Consent{
		CI: a.Getenv("CI") == "true", Yes: opt.Yes || a.Getenv("YES") == "1",
		Root: os.Geteuid() == 0, Terminal: host.Terminal, Ask: a.ask,
	}
	if err := consent.Decide(ctx, steps); err != nil {
		return err
	}
	applier := doctor.Applier{System: host, Runner: host, Log: func(line string) { a.say("        %s", line) }}
	var manual []doctor.Step
	for _, step := range steps {
		if step.Manual() {
			manual = append(manual, step)
			continue
		}
		a.say("setup   %s", step.What)
		if err := applier.Apply(ctx, step); err != nil {
			return err
		}
	}
	for _, step := range manual {
		if step.Optional {
			a.say("note    %s: %s", step.What, step.Why)
			for _, c := range step.Commands {
				a.say("        %s", c)
			}
		}
	}
	return doctor.Refusal(manual, errors.New("llorch-bk cannot do this itself"))
}

// Doctor reports what is wrong with this machine, and changes nothing.
func (a *App) Doctor(ctx context.Context) ([]doctor.Finding, error) {
	host, err := a.host()
	if err != nil {
		return nil, err
	}
	found := doctor.Findings(doctor.Inspect(ctx, host))
	if ctx.Err() != nil {
		return nil, interrupted(ctx, context.Cause(ctx))
	}
	gpus, err := a.gpuFindings(ctx)
	if err != nil {
		return nil, err
	}
	builders, err := a.builders(ctx)
	return slices.Concat(found, gpus, builders), err
}

// host describes this machine and its engine.
func (a *App) host() (doctor.Host, error) {
	addr, chosen, err := docker.Address(docker.Options{Getenv: a.Getenv})
	return doctor.Host{
		Terminal: atTerminal(),
		Engine:   a.askEngine, EngineAddr: addr, EngineChosen: chosen,
	}, err
}

func (a *App) askEngine(ctx context.Context) (doctor.EngineInfo, error) {
	api, _, err := docker.Discover(ctx, docker.Options{Getenv: a.Getenv})
	if err != nil {
		return doctor.EngineInfo{}, err
	}
	defer api.Close()
	return doctor.AskEngine(ctx, api)
}

// ask shows the steps and reads the user's answer.
func (a *App) ask(ctx context.Context, steps []doctor.Step) (bool, error) {
	fmt.Fprintln(a.Err, "This machine needs:")
	for _, s := range steps {
		fmt.Fprintf(a.Err, "  %s (%s)\n", s.What, s.Why)
		for _, c := range s.Commands {
			fmt.Fprintf(a.Err, "      %s\n", c)
		}
	}
	fmt.Fprint(a.Err, "Do it now? [y/N] ")
	return answer(ctx)
}

func (a *App) say(format string, args ...any) { fmt.Fprintf(a.Err, format+"\n", args...) }
