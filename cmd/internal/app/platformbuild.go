package app

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/builder"
	"github.com/llorch/llorch-bk/llb/buildkit"
	"github.com/llorch/llorch-bk/llb/bundle"
	"github.com/llorch/llorch-bk/llb/policy"
	"github.com/llorch/llorch-bk/llb/source"
)

// platformBuild is the build for one platform, with what this machine knows about it.
type platformBuild struct {
	BuildOptions
	checkout source.Checkout
	// cpuLevel is the best level of the engine's machine; empty if it is not known.
	cpuLevel string
	// gpu is the answer of the engine's driver; nil if it was not asked.
	gpu    *images.GPUFacts
	caches buildkit.Caches
	caCert []byte
	policy *policy.Policy
	// locked are the facts of a lock; nil without a lock.
	locked *images.Facts
	lock   []byte
	// builder is the platform of a builder that is not asked; empty if it is not known.
	builder string
	// bases are the facts about bases from a lock, also from one for another source.
	bases *images.Facts
	// pinned are the packages of a lock for another source.
	pinned *images.Facts
	// offline is what a build without a network may use; nil with a network.
	offline *offline
	// fresh is a builder for this build only, which the caller removes; nil for the usual one.
	fresh *builder.Manager
	// replace allows another toolkit if the preferred one's registry cannot be reached.
	replace bool
}

// plan makes a plan without a builder.
func (w platformBuild) plan() (images.Plan, error) {
	f := images.Facts{Source: w.checkout.Facts, CPULevel: w.cpuLevel, GPU: w.gpu, Builder: w.builder, Scripts: llb.ScriptsDigest()}
	if w.locked != nil {
		f.Builder, f.Build, f.Runtime, f.Accelerator = w.locked.Builder, w.locked.Build, w.locked.Runtime, w.locked.Accelerator
		if err := keepTo(&f, *w.locked); err != nil {
			return images.Plan{}, err
		}
	}
	if w.pinned != nil {
		f.Build, f.Runtime, f.Accelerator = w.pinned.Build, w.pinned.Runtime, w.pinned.Accelerator
		f.Packages, f.Snapshots = w.pinned.Packages, w.pinned.Snapshots
	}
	return images.MakePlan(w.Request, f)
}

// resolve checks a build, and finds its commit and this machine's CPU level.
func (a *App) resolve(ctx context.Context, d *Display, local bool, opt BuildOptions) (platformBuild, error) {
	all, err := a.resolveAll(ctx, d, local, []BuildOptions{opt})
	if err != nil {
		return platformBuild{}, err
	}
	return all[0], nil
}

// prepare checks a build, and collects what this machine knows about it.
func (a *App) prepare(ctx context.Context, local bool, opt BuildOptions) (platformBuild, error) {
	w := platformBuild{BuildOptions: opt}
	var err error
	if opt.Offline {
		if w.offline, err = a.openOffline(opt); err != nil {
			return w, err
		}
		opt.lock = &w.offline.lock
	}
	switch {
	case opt.Offline && opt.Patched:
		if w.BuildOptions, w.pinned, err = w.offline.patched(opt); err != nil {
			return w, err
		}
		opt, w.bases = w.BuildOptions, w.pinned
	case opt.Locked != "" || opt.lock != nil:
		if w.BuildOptions, w.locked, w.lock, err = fromLock(opt); err != nil {
			return w, err
		}
		opt, w.bases = w.BuildOptions, w.locked
	}
	if w.locked != nil && opt.KeptAt != "" && !strings.HasPrefix(opt.KeptAt, bundle.Scheme) {
		if _, err := openKept(opt.KeptAt); err != nil {
			return w, err
		}
	}
	if w.Request, err = opt.Request.Normalise(); err != nil {
		return w, err
	}
	if opt.Jobs < 0 {
		return w, fault.New(fault.Usage, fmt.Sprintf("--jobs must not be negative, got %d", opt.Jobs), nil, "give the number of compilers that may run at once, or remove it")
	}
	if w.caches, err = buildkit.ParseCaches(opt.CacheFrom, opt.CacheTo); err != nil {
		return w, err
	}
	if w.caCert, err = a.certificates(opt.CACert); err != nil {
		return w, err
	}
	w.caches.Objects.Transport = trusting(w.caCert)
	if w.policy, err = policy.Read(opt.SourcePolicy); err != nil {
		return w, err
	}
	if local {
		w.cpuLevel = machineLevel(w.Request.Arch())
	}
	if w.Request.CPU == images.CPUNative && w.Request.Platform != thisPlatform {
		return w, fault.New(fault.Usage, "--cpu native needs an image for this machine's platform", fmt.Errorf("this machine is %s, and the image is for %s", thisPlatform, w.Request.Platform),
			"name a level with --cpu (see llorch-bk build --help), or use --cpu portable")
	}
	if w.Request.CPU == images.CPUNative && w.cpuLevel == "" {
		return w, fault.New(fault.Usage, "cannot detect the CPU level of the engine's machine", nil,
			"name a level with --cpu (see llorch-bk build --help), or use --cpu portable")
	}
	return w, w.chooseGPU(ctx, local)
}

// find looks up a build's commit.
func (a *App) find(ctx context.Context, d *Display, w *platformBuild) error {
	cache, err := a.CacheDir()
	if err != nil {
		return err
	}
	find := func() error {
		w.checkout, err = w.find(ctx, source.Resolver{Dir: filepath.Join(cache, "sources")})
		if err == nil {
			w.Request.Source, w.Request.Ref = w.checkout.Location, w.checkout.Ref
		}
		return err
	}
	if d == nil {
		return find()
	}
	return d.Do("find the commit of "+w.Request.Source, func(s *Step) error {
		if err := find(); err != nil {
			return err
		}
		s.Note(w.checkout.Facts.Commit)
		return nil
	})
}

// find looks up the commit: in a loaded bundle for an offline build, else at the request's
// source.
func (w *platformBuild) find(ctx context.Context, r source.Resolver) (source.Checkout, error) {
	if w.offline == nil {
		if source.IsRemote(w.Request.Source) {
			if err := w.policy.Git(w.Request.Source, w.Request.Ref); err != nil {
				return source.Checkout{}, err
			}
		}
		return r.Resolve(ctx, w.Request.Source, w.Request.Ref)
	}
	return w.offline.find(ctx, r, w)
}

// chooseGPU asks this machine's driver if the build is for its GPUs, and refuses what cannot
// work before anything is fetched.
func (w *platformBuild) chooseGPU(ctx context.Context, local bool) error {
	cuda := images.DeviceOf(w.Request.Variant) == "CUDA"
	auto := slices.Equal(w.Request.CUDAArch, []string{images.CUDAAuto})
	if cuda && (auto || w.ThisGPU && len(w.Request.CUDAArch) == 0) {
		w.gpu = hostGPU(ctx, local)
		if !auto && w.gpu != nil && len(w.gpu.Capabilities()) > 0 {
			w.Request.CUDAArch = []string{images.CUDAAuto}
		}
	}
	_, err := images.Choose(w.Request, images.Facts{GPU: w.gpu})
	return err
}
