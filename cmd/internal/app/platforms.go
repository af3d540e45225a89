package app

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/buildkit"
)

// platforms are the platforms to build for.
func (o BuildOptions) platforms() []string {
	if len(o.Platforms) > 0 {
		return o.Platforms
	}
	return []string{o.Request.Platform}
}

// on returns the options for one platform.
func (o BuildOptions) on(platform string) BuildOptions {
	o.Request.Platform, o.Platforms = platform, nil
	return o
}

// each returns the options for each platform.
func (o BuildOptions) each() []BuildOptions {
	var all []BuildOptions
	for _, p := range o.platforms() {
		all = append(all, o.on(p))
	}
	return all
}

// resolveAll checks the build for each platform, and finds its commit once.
func (a *App) resolveAll(ctx context.Context, d *Display, local bool, each []BuildOptions) ([]platformBuild, error) {
	var all []platformBuild
	for _, opt := range each {
		w, err := a.prepare(ctx, local, opt)
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	err := a.find(ctx, d, &all[0])
	for i := range all[1:] {
		all[1+i].found(all[0])
	}
	return all, err
}

// found copies the source of another platform: a second lookup could find a newer commit.
func (w *platformBuild) found(by platformBuild) {
	w.checkout, w.Request.Source, w.Request.Ref = by.checkout, by.Request.Source, by.Request.Ref
}

// thisPlatform is the platform of Linux builds on this machine.
const thisPlatform = "linux/" + runtime.GOARCH

// job is a build for all its platforms, with the facts of each.
type job struct {
	all   []platformBuild
	facts []buildkit.Facts
	local *buildkit.LocalBase
	// kept is what each platform may use from this machine.
	kept []keptFor
}

// begun is a build that is ready for its builder.
type begun struct {
	b   *buildkit.Builder
	on  *job
	job buildkit.Job
}

// begin collects the builder's facts and makes the plans. The caller closes the builder.
func (a *App) begin(ctx context.Context, d *Display, docker *client.Client, all []platformBuild) (_ begun, err error) {
	w := all[0]
	b, err := a.builder(ctx, d, docker, w)
	if err != nil {
		return begun{}, err
	}
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	on, err := a.collectAll(ctx, d, docker, b, all)
	if err != nil {
		return begun{}, err
	}
	plan, others, err := on.plan()
	if err != nil {
		return begun{}, err
	}
	return begun{b: b, on: on, job: buildkit.Job{
		Output: w.Output, Lock: w.lock,
		Plan: plan, Others: others, Capabilities: on.facts[0].Capabilities, Source: w.checkout.Content, Local: on.local, Kept: on.keeps(),
		Jobs: w.Jobs, Fresh: w.NoCache, Caches: w.caches, Proxy: a.proxy(), CACert: w.caCert, Status: d.Update,
	}}, nil
}

// collectAll asks the builder for the facts of each platform.
func (a *App) collectAll(ctx context.Context, d *Display, docker *client.Client, b *buildkit.Builder, all []platformBuild) (*job, error) {
	j := &job{all: all}
	for _, w := range all {
		if len(j.facts) > 0 {
			// The tree is the same for every platform; do not read it again.
			w.checkout.Facts = j.facts[0].Source
		}
		kept, err := a.kept(ctx, d, w)
		if err != nil {
			return nil, err
		}
		facts, local, err := a.collect(ctx, d, docker, b, w, kept.bases())
		if err != nil {
			return nil, err
		}
		j.facts, j.kept, j.local = append(j.facts, facts), append(j.kept, kept), local
	}
	return j, nil
}

// keeps returns what all platforms together may use from this machine.
func (j *job) keeps() buildkit.Kept {
	out := j.kept[0].all(j.facts[0].Facts)
	for _, k := range j.kept[1:] {
		if first := out.Package; first != nil {
			out.Package = func(sum string) (string, bool) {
				if file, ok := first(sum); ok {
					return file, true
				}
				return k.pkg(sum)
			}
		}
	}
	return out
}

// plan makes the plan of the first platform, and those of the others.
func (j *job) plan() (first images.Plan, others []images.Plan, err error) {
	for i, w := range j.all {
		p, err := images.MakePlan(w.Request, j.facts[i].Facts)
		if err != nil {
			return first, nil, err
		}
		if i == 0 {
			first = p
		} else {
			others = append(others, p)
		}
	}
	return first, others, nil
}

// whole makes every plan compile the tree in one step; why says why.
func (j *job) whole(why string) {
	tree := *j.facts[0].Source.Tree
	tree.Layout, tree.LayoutWhy = images.LayoutWhole, why
	for i := range j.facts {
		j.facts[i].Source.Tree = &tree
	}
}

// runsPlatform refuses programs that the engine's machine cannot run. If its kernel has an
// emulator registered, its BuildKit reports that platform.
func (e *dockerEngine) runsPlatform(ctx context.Context, platform, what string) error {
	own := engineArch(ctx, e)
	if own == "" || platform == "" || platform == "linux/"+own {
		return nil
	}
	if b, err := buildkit.Dial(ctx, buildkit.Auto, e.client, buildkit.TLS{}); err == nil {
		defer b.Close()
		if b.Runs(platform) {
			return nil
		}
	}
	return fault.New(fault.Machine, fmt.Sprintf("%s is for %s, and the engine runs linux/%s", what, platform, own), errors.New("the engine's machine has no emulator for it"),
		"push it with llorch-bk build --push and run it on such a machine; for tests, register an emulator (binfmt_misc)")
}
