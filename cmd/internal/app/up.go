package app

import (
	"context"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model"
	"golang.org/x/sync/errgroup"
)

// checkUp validates the build and the run before either starts, and connects to the engine.
// It completes the build with what the engine's machine decides.
func (a *App) checkUp(ctx context.Context, build *BuildOptions, opt RunOptions) (checkedRun, *dockerEngine, error) {
	locked, err := a.lockedModel(*build, opt.ModelGiven)
	if err != nil {
		return checkedRun{}, nil, err
	}
	if locked.Pinned != "" {
		opt.Model = locked.Pinned
	}
	req, err := check(opt)
	if err != nil {
		return req, nil, err
	}
	req.locked = locked
	if _, err := build.Request.Normalise(); err != nil {
		return req, nil, err
	}
	if build.CACert != "" {
		pem, err := a.certificates(build.CACert)
		if err != nil {
			return req, nil, err
		}
		req.roots = roots(pem)
	}
	eng, err := a.engine(ctx)
	if err != nil {
		return req, nil, err
	}
	err = reach(eng, req)
	if err == nil {
		err = eng.runsPlatform(ctx, build.Request.Platform, "the image")
	}
	if err == nil {
		err = gpuBefore(ctx, eng, build.Request, opt)
	}
	if err != nil {
		eng.Close()
		return req, nil, interrupted(ctx, err)
	}
	if !build.CPUChosen && (!eng.local || machineLevel(build.Request.Arch()) == "") {
		build.Request.CPU = images.CPUPortable
	}
	return req, eng, nil
}

// Up builds the image if it is missing, and runs it. It downloads the model during the
// build; the first failure stops both.
func (a *App) Up(ctx context.Context, build BuildOptions, opt RunOptions) (Running, error) {
	req, eng, err := a.checkUp(ctx, &build, opt)
	if err != nil {
		return Running{}, err
	}
	defer eng.Close()
	d, err := OpenDisplay(a.Err, a.Progress)
	if err != nil {
		return Running{}, err
	}
	defer d.Close()
	w := &runner{a: a, d: d, eng: eng, r: req, offline: build.Offline, onGPU: opt.GPUs != "none" && (opt.GPUs != "" || images.DeviceOf(build.Request.Variant) != "")}
	defer w.release()
	var img imageOf
	var local model.Local
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		var err error
		if local, err = w.fetch(gctx); err == nil {
			err = a.keepToModel(gctx, d, req.locked, local)
		}
		return err
	})
	g.Go(func() error {
		var err error
		img, err = a.obtain(gctx, d, eng, build)
		return err
	})
	if err := g.Wait(); err != nil {
		return Running{}, interrupted(ctx, err)
	}
	r, err := a.launch(ctx, w, img, local)
	return r, interrupted(ctx, err)
}

// findImage looks for an image in the engine that matches the build. It also returns the
// resolved build.
func (a *App) findImage(ctx context.Context, d *Display, eng *dockerEngine, opt BuildOptions) (want platformBuild, img imageOf, ok bool, err error) {
	if want, err = a.resolve(ctx, d, eng.local, opt); err != nil {
		return want, img, false, err
	}
	// Prefer a toolkit that works now over the preferred one.
	want.replace = true
	if opt.NoCache {
		return want, img, false, nil
	}
	plan, err := want.plan()
	if err != nil {
		return want, img, false, err
	}
	img, ok, err = eng.fitting(ctx, plan.Fit, want)
	return want, img, ok, err
}

// obtain returns an image for the build: a matching one in the engine, else a new one.
func (a *App) obtain(ctx context.Context, d *Display, eng *dockerEngine, opt BuildOptions) (imageOf, error) {
	want, img, ok, err := a.findImage(ctx, d, eng, opt)
	if err != nil {
		return imageOf{}, err
	}
	if !ok {
		built, err := a.build(ctx, d, eng.client, want)
		if err != nil {
			return imageOf{}, err
		}
		return eng.image(ctx, built.ID)
	}
	d.notice("reusing the image " + img.Ref + ", which matches")
	for _, tag := range want.Request.Tags {
		if err := eng.client.ImageTag(ctx, img.ID, tag); err != nil {
			return imageOf{}, fault.New(fault.Usage, "the engine cannot tag the image as "+tag, err, "")
		}
	}
	return img, nil
}
