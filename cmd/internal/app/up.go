package app

import (
	"context"
	"crypto/x509"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model"
	"golang.org/x/sync/errgroup"
)

// Up builds what is missing and runs it. The model is fetched while the image
// is built; whichever fails first ends the other.
func (a *App) Up(ctx context.Context, build BuildOptions, opt RunOptions) (Running, error) {
	locked, err := lockedModel(build, opt.ModelGiven)
	if err != nil {
		return Running{}, err
	}
	if locked.Pinned != "" {
		opt.Model = locked.Pinned
	}
	req, err := check(opt)
	if err != nil {
		return Running{}, err
	}
	// Both halves are checked before either starts.
	if _, err := build.Request.Normalise(); err != nil {
		return Running{}, err
	}
	if build.CACert != "" {
		pem, err := a.certificates(build.CACert)
		if err != nil {
			return Running{}, err
		}
		if req.roots, err = x509.SystemCertPool(); err != nil {
			req.roots = x509.NewCertPool()
		}
		req.roots.AppendCertsFromPEM(pem)
	}
	eng, err := a.engine(ctx)
	if err != nil {
		return Running{}, err
	}
	defer eng.Close()
	if err := reach(eng, req); err != nil {
		return Running{}, err
	}
	if err := eng.runsPlatform(ctx, build.Request.Platform, "the image"); err != nil {
		return Running{}, interrupted(ctx, err)
	}
	if err := gpuBefore(ctx, eng, build.Request, opt); err != nil {
		return Running{}, interrupted(ctx, err)
	}
	if !build.CPUChosen && (!eng.local || machineLevel(build.Request.Arch()) == "") {
		build.Request.CPU = images.CPUPortable
	}
	d, err := OpenDisplay(a.Err, a.Progress)
	if err != nil {
		return Running{}, err
	}
	defer d.Close()
	w := &runner{a: a, d: d, eng: eng, r: req, offline: build.Offline, onGPU: opt.GPUs != "none" && (opt.GPUs != "" || images.DeviceOf(build.Request.Variant) != "")}
	var img imageOf
	var local model.Local
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		var err error
		if local, err = w.fetch(gctx); err == nil {
			err = a.keepToModel(gctx, d, locked, local)
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

// obtain is the image for a build request: one that is there and fits, else a
// new one.
func (a *App) obtain(ctx context.Context, d *Display, eng *dockerEngine, opt BuildOptions) (imageOf, error) {
	want, err := a.resolve(ctx, d, eng.local, opt)
	if err != nil {
		return imageOf{}, err
	}
	// What runs here at once is worth more than the first choice of a toolkit.
	want.replace = true
	if !opt.NoCache {
		plan, err := want.plan()
		if err != nil {
			return imageOf{}, err
		}
		img, ok, err := eng.fitting(ctx, plan.Fit, want)
		if err != nil {
			return imageOf{}, err
		}
		if ok {
			d.notice("the image " + img.Ref + " fits and is used as it is")
			for _, tag := range want.Request.Tags {
				if err := eng.client.ImageTag(ctx, img.ID, tag); err != nil {
					return imageOf{}, fault.New(fault.Usage, "the image cannot be named "+tag, err, "")
				}
			}
			return img, nil
		}
	}
	built, err := a.build(ctx, d, eng.client, want)
	if err != nil {
		return imageOf{}, err
	}
	return eng.image(ctx, built.ID)
}
