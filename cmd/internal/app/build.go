package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker/client"
	"github.com/gofrs/flock"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/builder"
	"github.com/llorch/llorch-bk/llb/buildkit"
	"github.com/llorch/llorch-bk/llb/source"
	"github.com/opencontainers/go-digest"
)

// BuildOptions is a build as the user asked for it.
type BuildOptions struct {
	Request images.Request
	// Platforms, if it has several, replaces the request's platform: they make an index.
	Platforms []string
	// CPUChosen is true if the user named the CPU level. An image of another level is then
	// not reused.
	CPUChosen bool
	// ThisGPU builds for this machine's GPUs if the user named no architectures and the
	// GPUs can be detected.
	ThisGPU bool
	// Builder is the address of a BuildKit, or buildkit.Auto.
	Builder string
	TLS     buildkit.TLS
	// Jobs is the number of compilers that run at once; 0 lets the builder choose.
	Jobs int
	// NoCache ignores cached steps.
	NoCache bool
	// CacheFrom and CacheTo are layer caches as buildkit.ParseCaches reads them.
	CacheFrom, CacheTo []string
	// Output is the image's destination, if it is not the engine.
	Output buildkit.Output
	// Sign says how to sign a pushed image; the zero value does not sign.
	Sign SignOptions
	// Locked is the lock file to build from; empty for none.
	Locked string
	// KeptAt is a folder or registry (oci://…) with the packages of locks; empty for none.
	// Builds without a lock ignore it.
	KeptAt string
	// Offline uses no network: everything comes from the bundles that were loaded here.
	// Unless Patched is set, it builds what their lock records.
	Offline bool
	// OfflineLock is the lock file that selects a bundle; empty if only one bundle was
	// loaded.
	OfflineLock string
	// Patched is true if an offline build uses the user's source instead of the lock's.
	Patched bool
	// Chosen are the flags from PatchFlags that the user gave for a patched build.
	Chosen []string
	// CACert is a PEM file of CA certificates that build steps with a network trust.
	CACert string
	// SourcePolicy is a file with rules for the allowed sources; empty allows all.
	SourcePolicy string

	// lock is the content of Locked, if it was read already.
	lock *images.Lock
}

// PatchFlags are the flags that override the lock in a patched build.
var PatchFlags = []string{"source", "ref", "cpu", "cmake-flag", "programs", "no-ui"}

// Build builds the image and loads it into the engine, or sends it where opt.Output says.
func (a *App) Build(ctx context.Context, opt BuildOptions) (Built, error) {
	if len(opt.Platforms) > 1 && !opt.Output.Elsewhere() {
		return Built{}, fault.New(fault.Usage, "an engine takes an image of one platform", fmt.Errorf("got %d platforms", len(opt.Platforms)),
			"add --push or --output for an index, or name one --platform")
	}
	signer, err := a.signer(opt.Sign)
	if err != nil {
		return Built{}, err
	}
	var docker *client.Client
	local := false
	eng, err := a.engine(ctx)
	switch {
	case err == nil:
		defer eng.Close()
		docker, local = eng.client, eng.local
		// Without an engine, only a build that names its builder and sends the image elsewhere works.
	case !opt.Output.Elsewhere() || opt.Builder == buildkit.Auto:
		return Built{}, err
	}
	d, err := OpenDisplay(a.Err, a.Progress)
	if err != nil {
		return Built{}, err
	}
	defer d.Close()
	all, err := a.resolveAll(ctx, d, local, opt.each())
	if err != nil {
		return Built{}, interrupted(ctx, err)
	}
	built, err := a.build(ctx, d, docker, all[0], all[1:]...)
	if err == nil && signer != nil {
		err = d.Do("sign "+built.Digest, func(*Step) error {
			asking, err := a.asking(ctx, opt)
			if err == nil {
				built.Signatures, err = signPushed(ctx, signer, built.Plan.Image.Tags, built.Digest, opt.Output.Insecure, asking)
			}
			return err
		})
	}
	return built, interrupted(ctx, err)
}

// Plan makes the plan of Build for each platform, without a builder or an engine. If this
// program would choose the builder, Plan assumes one of this machine's platform.
func (a *App) Plan(ctx context.Context, opt BuildOptions) ([]images.Plan, error) {
	all, err := a.resolveAll(ctx, nil, true, opt.each())
	if fault.ClassOf(err) == fault.Machine && len(all) > 0 && source.IsRemote(all[0].Request.Source) {
		// Without git or a network the commit stays unknown, and the plan says so.
		fmt.Fprintf(a.Err, "cannot look up the commit: %v\n", err)
		for i := range all {
			all[i].checkout.Facts.Kind = images.SourceGit
		}
		err = nil
	}
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	var plans []images.Plan
	for _, w := range all {
		if opt.Builder == buildkit.Auto || opt.Builder == builder.Managed {
			w.builder = thisPlatform
		}
		p, err := w.plan()
		if err != nil {
			return nil, err
		}
		plans = append(plans, p)
	}
	return plans, nil
}

// WriteLLB writes the graph of a plan in BuildKit's format. Base digests that only a
// builder can look up are left to the builder that solves the graph.
func WriteLLB(ctx context.Context, p images.Plan, w io.Writer) error {
	for _, pending := range p.Pending {
		if !strings.HasSuffix(pending, "_base.digest") {
			return fault.New(fault.Usage, "cannot write the graph", fmt.Errorf("%s is still to be looked up", pending),
				"name a local source or a reachable ref, and a CPU level")
		}
	}
	p.Pending = nil
	// The plan is for no particular builder: assume a current BuildKit.
	g, err := llb.Build(p, llb.Capabilities{GitChecksum: true, GitSkipSubmodules: true, OCILayout: true, Merge: true}, llb.Options{})
	if err != nil {
		return err
	}
	return llb.WriteDefinition(ctx, g, w)
}

// build collects the builder's facts, makes the plan and carries it out. Others are the
// same build for other platforms; all images then make one index.
func (a *App) build(ctx context.Context, d *Display, docker *client.Client, w platformBuild, others ...platformBuild) (Built, error) {
	p, err := a.begin(ctx, d, docker, append([]platformBuild{w}, others...))
	if err != nil {
		return Built{}, err
	}
	b, on, job, plan := p.b, p.on, p.job, p.job.Plan
	defer b.Close()
	if plan.CUDA != nil {
		for _, note := range plan.CUDA.Notes {
			d.notice(note)
		}
	}
	if docker != nil {
		job.Engine = docker
	}
	if b.OneAtATime(job.Capabilities) {
		unlock, err := a.takeTurn(ctx, d, docker.DaemonHost())
		if err != nil {
			return Built{}, err
		}
		defer unlock()
	}
	result, err := b.Build(ctx, job)
	var lacks *buildkit.Incomplete
	if errors.As(err, &lacks) && plan.Source.Layout != images.LayoutWhole && ctx.Err() == nil {
		// The split steps mount the files that known trees need. This tree keeps some
		// elsewhere, and only its own CMake files know where: compile it in one step.
		why := "in steps it does not build: " + lacks.Line
		d.notice("the source is compiled in one step, since " + why)
		on.whole(why)
		if plan, job.Others, err = on.plan(); err != nil {
			return Built{}, err
		}
		job.Plan = plan
		result, err = b.Build(ctx, job)
	}
	if err != nil {
		return Built{}, err
	}
	for _, note := range result.Notes {
		d.notice(note)
	}
	for _, note := range result.Objects.Notices {
		d.notice(note)
	}
	built := Built{Tags: shortRefs(plan.Image.Tags), Digest: result.Digest, Steps: result.Steps, Notes: result.Notes, Plan: plan}
	if len(job.Others) > 0 {
		built.Plans = append([]images.Plan{plan}, job.Others...)
	}
	if result.Objects.From != "" || result.Objects.To != "" {
		built.Objects = &result.Objects
	}
	if w.Output.Elsewhere() {
		return built, nil
	}
	// Exporters report different ids for an image. The tag leads to the engine's own id.
	info, err := docker.ImageInspect(ctx, plan.Image.Tags[0])
	if err != nil {
		return Built{}, fault.New(fault.Build, "the image was built, but the engine does not have it", err, inspectAdvice(err))
	}
	// Exporters record no tag time, so tag again: a bare `run` takes the newest image, and
	// the image's creation time is its commit's.
	for _, tag := range plan.Image.Tags {
		if err := docker.ImageTag(ctx, info.ID, tag); err != nil {
			return Built{}, fault.New(fault.Build, "the image was built, but the engine cannot tag it as "+tag, err, "")
		}
	}
	built.ID, built.Layers = info.ID, layers(ctx, docker, info.ID, result.Layers)
	return built, nil
}

// collect asks the builder for the facts of a build. For a locked build, the facts must
// match the lock.
func (a *App) collect(ctx context.Context, d *Display, docker *client.Client, b *buildkit.Builder, w platformBuild, kept buildkit.Kept) (buildkit.Facts, *buildkit.LocalBase, error) {
	var local *buildkit.LocalBase
	if kept.Images == nil {
		// Steps run on the builder's platform, even if the image is for another.
		_, arch, _ := strings.Cut(cmp.Or(b.Platform(), w.Request.Platform), "/")
		var err error
		if local, err = a.localBase(ctx, arch, docker, !b.Embedded); err != nil {
			return buildkit.Facts{}, nil, err
		}
	}
	facts, err := b.Collect(ctx, buildkit.Query{
		Request: w.Request, Checkout: w.checkout, CPULevel: w.cpuLevel, GPU: w.gpu,
		Local: local, Status: d.Update, Notice: d.notice, Replace: w.replace, Locked: w.bases, Kept: kept,
	})
	if err != nil {
		return facts, nil, err
	}
	facts.Scripts = llb.ScriptsDigest()
	if w.locked != nil {
		err = keepTo(&facts.Facts, *w.locked)
	}
	if w.pinned != nil {
		facts.Packages, facts.Snapshots = w.pinned.Packages, w.pinned.Snapshots
	}
	return facts, local, err
}

// takeTurn waits until no other build by this user runs on the engine.
func (a *App) takeTurn(ctx context.Context, d *Display, engine string) (unlock func(), err error) {
	cache, err := a.CacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "locks")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fault.New(fault.Machine, "cannot write to the cache folder", err, diskAdvice(dir, otherCache, err))
	}
	lock := flock.New(filepath.Join(dir, digest.FromString(engine).Encoded()[:16]+".lock"))
	got, err := lock.TryLock()
	if err == nil && !got {
		err = d.Do("wait for another build on this engine", func(*Step) error {
			_, err := lock.TryLockContext(ctx, 200*time.Millisecond)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock the engine against other builds: %w", err)
	}
	return func() { _ = lock.Unlock() }, nil
}

// notice shows a message about a decision or fallback.
func (d *Display) notice(text string) {
	_ = d.Do("note", func(s *Step) error { s.Note(text); return nil })
}
