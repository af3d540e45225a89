package app

import (
	"context"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/model"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/pool"
)

// PlanRun makes the plan that Run would carry out now. It changes nothing.
func (a *App) PlanRun(ctx context.Context, opt RunOptions) (pool.Plan, error) {
	req, eng, img, err := a.checkRun(ctx, opt)
	if err != nil {
		return pool.Plan{}, err
	}
	defer eng.Close()
	p, err := a.planLaunch(ctx, eng, req, img, "")
	return p, interrupted(ctx, err)
}

// PlanUp makes the plan that Up would carry out now, as far as it is known before the image
// is built. It changes nothing.
func (a *App) PlanUp(ctx context.Context, build BuildOptions, opt RunOptions) (pool.Plan, error) {
	req, eng, err := a.checkUp(ctx, &build, opt)
	if err != nil {
		return pool.Plan{}, err
	}
	defer eng.Close()
	want, img, ok, err := a.findImage(ctx, nil, eng, build)
	if err != nil {
		return pool.Plan{}, interrupted(ctx, err)
	}
	missing := ""
	if !ok {
		missing = "the engine has no matching image"
		if build.NoCache {
			missing = "`no-cache` is set"
		}
		img = imageOf{ID: "not built yet", Ref: "that is built", Labels: map[string]string{images.LabelDevice: images.DeviceOf(want.Request.Variant)}}
	}
	p, err := a.planLaunch(ctx, eng, req, img, missing)
	return p, interrupted(ctx, err)
}

// planLaunch makes the run plan for an image. A non-empty build says why the image has to
// be built first.
func (a *App) planLaunch(ctx context.Context, eng *dockerEngine, req checkedRun, img imageOf, build string) (pool.Plan, error) {
	if err := eng.runsHere(img, engineArch(ctx, eng)); err != nil {
		return pool.Plan{}, err
	}
	local, req, fetch, err := a.hasModel(ctx, req)
	if err != nil {
		return pool.Plan{}, err
	}
	if build == "" && fetch == "" {
		if req, err = a.introduce(ctx, eng.servers(nil), req, img, local); err != nil {
			return pool.Plan{}, err
		}
	}
	want, err := req.wanted(img, local)
	if err != nil {
		return pool.Plan{}, err
	}
	if _, want.Try, err = a.trial(req, local); err != nil {
		return pool.Plan{}, err
	}
	want.Build, want.Fetch = build, fetch
	seen, err := eng.observer(eng.servers(nil)).run(ctx, want.Spec)
	if err != nil {
		return pool.Plan{}, err
	}
	return pool.Run(want, seen), nil
}

// hasModel returns the model on this machine and the request with its companions, or in
// fetch the reason why something has to be downloaded.
func (a *App) hasModel(ctx context.Context, req checkedRun) (l model.Local, with checkedRun, fetch string, err error) {
	f, err := a.fetcher(nil)
	if err != nil {
		return l, req, "", err
	}
	f.Environment.Roots, f.Environment.Offline = req.roots, true
	l, err = f.Fetch(ctx, req.ref)
	switch {
	case ctx.Err() != nil, err != nil && req.ref.Kind == ref.File:
		return l, req, "", err
	case err != nil:
		return model.Local{Path: "/not/fetched/yet.gguf"}, req, "it is not on this machine", nil //nolint:nilerr // that is the answer
	}
	if err := l.Examine(); err != nil {
		return l, req, "", err
	}
	with, err = req.accompany(ctx, f, l)
	switch {
	case err == nil || ctx.Err() != nil:
		return l, with, "", err
	case req.company.isHere():
		return l, req, "", err
	}
	return l, req, "its companions are not on this machine", nil
}

// PlanStop makes the plan that Stop would carry out now. It changes nothing.
func (a *App) PlanStop(ctx context.Context, opt StopOptions) (pool.Plan, error) {
	meant, err := opt.meant()
	if err != nil {
		return pool.Plan{}, err
	}
	eng, err := a.engine(ctx)
	if err != nil {
		if ctx.Err() != nil || fault.ClassOf(err) != fault.Machine {
			return pool.Plan{}, err
		}
		entries, lerr := handoff.List(meant.Project)
		if lerr != nil {
			return pool.Plan{}, lerr
		}
		// Show what stop would remove without an engine, and the error that it would return.
		return pool.Halt(meant, pool.Seen{Unreachable: true, Handoffs: handoffs(entries)}), err
	}
	defer eng.Close()
	seen, err := eng.observer(eng.servers(nil)).project(ctx, meant.Project)
	if err != nil {
		return pool.Plan{}, interrupted(ctx, err)
	}
	return pool.Halt(meant, seen), nil
}
