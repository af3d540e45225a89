package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/docker/docker/client"
	"github.com/docker/go-units"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/builder"
	"github.com/llorch/llorch-bk/llb/buildkit"
	"github.com/llorch/llorch-bk/runtime/doctor"
)

// manager keeps the builder of this program's own; notice may be nil.
func (a *App) manager(docker *client.Client, notice func(string)) (builder.Manager, error) {
	cache, err := a.CacheDir()
	if err != nil {
		return builder.Manager{}, err
	}
	m := builder.Manager{
		Dir: filepath.Join(cache, "builder"), Image: a.Getenv("LLORCH_BUILDER_IMAGE"), Program: a.Getenv("LLORCH_BUILDKITD"),
		Notice: notice, Daemons: daemons{}, Bundled: a.bundledBuilder,
	}
	p := a.proxy()
	for name, v := range map[string]string{"HTTP_PROXY": p.HTTP, "HTTPS_PROXY": p.HTTPS, "NO_PROXY": p.No} {
		if v != "" {
			m.Env = append(m.Env, name+"="+v)
		}
	}
	if docker != nil {
		m.Containers = docker
	}
	return m, nil
}

// builder connects to the builder of a build, which is held to its source policy.
func (a *App) builder(ctx context.Context, d *Display, docker *client.Client, w platformBuild) (*buildkit.Builder, error) {
	b, err := a.anyBuilder(ctx, d, docker, w)
	if err == nil {
		b.Policy = w.policy
	}
	return b, err
}

// anyBuilder connects to the builder of a build. Auto is the BuildKit inside the
// engine where that can do what is asked, else the managed one.
func (a *App) anyBuilder(ctx context.Context, d *Display, docker *client.Client, w platformBuild) (*buildkit.Builder, error) {
	m, err := a.manager(docker, d.notice)
	if err != nil {
		return nil, err
	}
	m.Offline = w.offline != nil
	if w.fresh != nil {
		return w.fresh.Open(ctx)
	}
	if w.Builder == builder.Managed {
		return m.Open(ctx)
	}
	b, err := buildkit.Dial(ctx, w.Builder, docker, w.TLS)
	if err != nil || !b.Embedded {
		return b, err
	}
	cannot := b.Takes(ctx, w.caches, w.Output)
	if cannot == nil && w.policy != nil {
		cannot = b.TakesPolicies(ctx)
	}
	if cannot == nil && w.offline != nil && w.Builder == buildkit.Auto {
		cannot = offlineNeeds(ctx, b)
	}
	if cannot == nil {
		return b, nil
	}
	b.Close()
	var f *fault.Fault
	if fault.ClassOf(cannot) != fault.Machine || ctx.Err() != nil || !errors.As(cannot, &f) {
		return nil, cannot
	}
	d.notice(f.Error() + ": another builder is used")
	own, err := m.Open(ctx)
	if err != nil && ctx.Err() == nil {
		// What is in the way is the first of the two; why there is no other helps.
		return nil, fault.New(fault.Machine, f.Error(), fmt.Errorf("and there is no other: %w", err), f.Do)
	}
	return own, err
}

// findingBuilder is the id of what doctor says of a managed builder.
const findingBuilder = "managed-builder"

// builders are what doctor has to say of the managed builders of this machine.
func (a *App) builders(ctx context.Context) ([]doctor.Finding, error) {
	docker, closeIt := a.maybeEngine(ctx)
	defer closeIt()
	m, err := a.manager(docker, nil)
	if err != nil {
		return nil, err
	}
	states, err := m.States(ctx)
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	var out []doctor.Finding
	for _, b := range states {
		what := "llorch-bk's own builder is a " + b.Kind + ": " + b.Where
		switch {
		case !b.Running:
			what += ", which does not run now"
		case b.Bytes > 0:
			what += ", with a cache of " + units.HumanSize(float64(b.Bytes))
		}
		out = append(out, doctor.Finding{
			ID: findingBuilder, Severity: doctor.Info, What: what,
			Why: "it does the builds that the engine's own BuildKit cannot do, and is started again when it is needed",
			Do:  []string{"llorch-bk prune builders"},
		})
	}
	return out, nil
}

// maybeEngine is the engine, or nil where there is none.
func (a *App) maybeEngine(ctx context.Context) (*client.Client, func()) {
	eng, err := a.engine(ctx)
	if err != nil {
		return nil, func() {}
	}
	return eng.client, func() { _ = eng.Close() }
}
