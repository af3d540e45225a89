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
	"github.com/llorch/llorch-bk/llb/buildkit"
	"github.com/llorch/llorch-bk/llb/source"
	"github.com/opencontainers/go-digest"
)

// BuildOptions are what the user asked of a build.
type BuildOptions struct {
	Request images.Request
	// Platforms, where there are several, are those of an index in place of the request's.
	Platforms []string
	// CPUChosen is true where the user named the CPU level, so that no image of
	// another level will do.
	CPUChosen bool
	// ThisGPU takes the architectures of this machine's GPUs where the user named
	// none and they can be told.
	ThisGPU bool
	// Builder is the address of a BuildKit, or buildkit.Auto.
	Builder string
	TLS     buildkit.TLS
	// Jobs is how many compilers run at once; 0 leaves it to the builder.
	Jobs int
	// NoCache compiles again whatever is cached.
	NoCache bool
	// CacheFrom and CacheTo are layer caches as buildkit.ParseCaches reads them.
	CacheFrom, CacheTo []string
	// Output is where the image goes, if not into the engine.
	Output buildkit.Output
	// Sign says by whom an image is signed that is pushed; its zero value is nobody.
	Sign SignOptions
	// Locked is the file of a lock that says all of what is built; empty for none.
	Locked string
	// KeptAt is a folder or registry (oci://…) where the packages of locks are kept; empty
	// for none. A build without a lock does not look there.
	KeptAt string
	// Offline takes everything from the bundles that were loaded here, and asks no network.
	// Without Patched, what their lock says is built.
	Offline bool
	// OfflineLock is the file of the lock whose bundle is meant; empty where one alone was
	// loaded.
	OfflineLock string
	// Patched is true where the user named a source in place of an offline lock's own.
	Patched bool
	// Chosen are the flags, of those in PatchFlags, that the user gave for a patched build.
	Chosen []string
	// CACert is a file with certificates (PEM) that steps with a network trust.
	CACert string
	// SourcePolicy is a file that says which sources may be used; empty for all.
	SourcePolicy string

	// lock is what Locked would be read from, where it is at hand.
	lock *images.Lock
}

// PatchFlags are the flags that a patched build takes in place of what its lock says.
var PatchFlags = []string{"source", "ref", "cpu", "cmake-flag", "programs", "no-ui"}

// Build makes the image and leaves it in the engine, or where the options say.
func (a *App) Build(ctx context.Context, opt BuildOptions) (Built, error) {
	if len(opt.Platforms) > 1 && !opt.Output.Elsewhere() {
		return Built{}, fault.New(fault.Usage, "an engine takes the image of one platform", fmt.Errorf("these are %d", len(opt.Platforms)),
			"give the index to a registry (--push) or a file (--output), or name one platform")
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
	// A builder that pushes needs no engine.
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

// Plan says what Build would do on each platform, without a builder or an engine. One
// that this program finds itself is taken to be of this machine's platform.
func (a *App) Plan(ctx context.Context, opt BuildOptions) ([]images.Plan, error) {
	all, err := a.resolveAll(ctx, nil, true, opt.each())
	if fault.ClassOf(err) == fault.Machine && len(all) > 0 && source.IsRemote(all[0].Request.Source) {
		// Without git or a network the commit stays open, and the plan says so.
		fmt.Fprintf(a.Err, "the commit cannot be looked up: %v\n", err)
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
		if opt.Builder == buildkit.Auto || opt.Builder == buildkit.Managed {
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

// WriteLLB writes the graph of a plan as BuildKit reads it. What only a builder
// could tell of the bases is left to the one that solves it.
func WriteLLB(ctx context.Context, p images.Plan, w io.Writer) error {
	for _, pending := range p.Pending {
		if !strings.HasSuffix(pending, "_base.digest") {
			return fault.New(fault.Usage, "there is no graph yet", fmt.Errorf("%s is still to be looked up", pending),
				"name a source on this machine, or a ref that can be looked up, and a CPU level")
		}
	}
	p.Pending = nil
	// What a BuildKit of today can do: the plan is for no builder in particular.
	g, err := llb.Build(p, llb.Capabilities{GitChecksum: true, GitSkipSubmodules: true, OCILayout: true, Merge: true}, llb.Options{})
	if err != nil {
		return err
	}
	return llb.WriteDefinition(ctx, g, w)
}

// build collects the builder's facts, makes the plan and carries it out. Others are the
// same on other platforms, whose images make an index with the first.
func (a *App) build(ctx context.Context, d *Display, docker *client.Client, w wanted, others ...wanted) (Built, error) {
	p, err := a.begin(ctx, d, docker, append([]wanted{w}, others...))
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
		// The steps were given what such trees have had so far. This one may keep more
		// elsewhere: what its own build takes is known to that build alone.
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
	// The exporters name the image differently; its tag leads to the id that
	// the engine itself uses.
	info, err := docker.ImageInspect(ctx, plan.Image.Tags[0])
	if err != nil {
		return Built{}, fault.New(fault.Build, "the image was built, but the engine does not have it", err, "check that --builder and DOCKER_HOST belong together")
	}
	// An exporter names an image without a note of when, and a bare run is of the
	// newest: the image's own time is its commit's.
	for _, tag := range plan.Image.Tags {
		if err := docker.ImageTag(ctx, info.ID, tag); err != nil {
			return Built{}, fault.New(fault.Build, "the image was built, but cannot be named "+tag, err, "look at the engine's log")
		}
	}
	built.ID, built.Layers = info.ID, layers(ctx, docker, info.ID, result.Layers)
	return built, nil
}

// collect asks the builder for the facts of a build. Where a lock says them, the builder
// has to say the same.
func (a *App) collect(ctx context.Context, d *Display, docker *client.Client, b *buildkit.Builder, w wanted, kept buildkit.Kept) (buildkit.Facts, *buildkit.LocalBase, error) {
	var local *buildkit.LocalBase
	if kept.Images == nil {
		// Steps run on the builder's platform, whatever the image's is.
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

// takeTurn waits until no other build of this user uses the engine.
func (a *App) takeTurn(ctx context.Context, d *Display, engine string) (unlock func(), err error) {
	cache, err := a.CacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "locks")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fault.New(fault.Machine, "the cache folder cannot be written", err, "name another with LLORCH_CACHE_DIR")
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
		return nil, fmt.Errorf("taking turns with other builds: %w", err)
	}
	return func() { _ = lock.Unlock() }, nil
}

// notice shows a decision that was taken for want of a better one.
func (d *Display) notice(text string) {
	_ = d.Do("note", func(s *Step) error { s.Note(text); return nil })
}
