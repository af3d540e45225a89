package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/buildkit"
	"github.com/llorch/llorch-bk/llb/bundle"
	"github.com/llorch/llorch-bk/llb/source"
	"github.com/opencontainers/go-digest"
)

// bundles opens the store of the bundles that were loaded or created on this machine.
func (a *App) bundles() (*bundle.Store, error) {
	cache, err := a.CacheDir()
	if err != nil {
		return nil, err
	}
	s, err := bundle.Open(filepath.Join(cache, "bundle"))
	if err != nil {
		return nil, fault.New(fault.Machine, "cannot open the bundles on this machine", err, diskAdvice(filepath.Join(cache, "bundle"), otherCache, err))
	}
	return s, nil
}

// offline is a build without a network: the loaded bundles, and the lock of the bundle to
// build from.
type offline struct {
	shelf
	lock     images.Lock
	platform string
}

// openOffline finds the lock for an offline build.
func (a *App) openOffline(opt BuildOptions) (*offline, error) {
	if err := opt.needsNoNetwork(); err != nil {
		return nil, err
	}
	store, err := a.bundles()
	if err != nil {
		return nil, err
	}
	o := &offline{shelf: shelf{store: store}, platform: opt.Request.Platform}
	if o.artifacts, err = store.Artifacts(); err != nil {
		return nil, fault.New(fault.Machine, "cannot read the bundles on this machine", err, "load them again: llorch-bk bundle load FILE")
	}
	if opt.KeptAt != "" {
		more, err := openKept(opt.KeptAt)
		if err != nil {
			return nil, err
		}
		o.more = append(o.more, more)
	}
	switch file := cmp.Or(opt.OfflineLock, opt.Locked); {
	case file != "":
		opt.Locked = file
		o.lock, err = opt.theLock()
	default:
		o.lock, err = onlyLock(o.artifacts, o.platform)
	}
	return o, err
}

// needsNoNetwork refuses options of an offline build that need a network.
func (o BuildOptions) needsNoNetwork() error {
	var what string
	switch caches := slices.Concat(o.CacheFrom, o.CacheTo); {
	case o.Output.Push:
		what = "--push"
	case slices.ContainsFunc(caches, func(c string) bool { return !strings.Contains(c, "type=local") && !strings.Contains(c, "type=inline") }):
		what = "a layer cache that is not on this machine"
	case strings.HasPrefix(o.KeptAt, bundle.Scheme):
		what = "--kept " + o.KeptAt
	case o.Patched && source.IsRemote(o.Request.Source):
		what = "--source " + o.Request.Source
	default:
		return nil
	}
	return fault.New(fault.Usage, "--offline and "+what+" cannot be used together", errors.New("the latter needs a network"), "remove one of them")
}

// onlyLock returns the only stored lock for a platform, and fails if there are several.
func onlyLock(all []bundle.Artifact, platform string) (images.Lock, error) {
	found := map[digest.Digest]images.Lock{}
	var names []string
	for _, a := range all {
		if _, seen := found[a.LockDigest]; a.Platform == platform && !seen {
			found[a.LockDigest] = a.Lock
			names = append(names, fmt.Sprintf("%s at %.12s, %s (%.19s)", a.Lock.Source.Repository, a.Lock.Source.Commit, a.Lock.Request.Variant, a.LockDigest))
		}
	}
	switch len(found) {
	case 0:
		return images.Lock{}, fault.New(fault.Machine, "no bundle for "+platform+" was loaded on this machine", nil,
			"create one on a machine with a network (llorch-bk bundle create), and load it here: llorch-bk bundle load FILE")
	case 1:
		for _, l := range found {
			return l, nil
		}
	}
	slices.Sort(names)
	return images.Lock{}, fault.New(fault.Usage, "several bundles are loaded on this machine", errors.New(strings.Join(names, "; ")), "choose one by its lock file: --offline=FILE")
}

// patched builds the user's own source, with everything else from the lock.
func (o *offline) patched(opt BuildOptions) (BuildOptions, *images.Facts, error) {
	r, f, err := o.lock.Locked(o.platform, opt.Request.Tags, llb.ScriptsDigest())
	if err != nil {
		return opt, nil, err
	}
	r.Source, r.Ref = opt.Request.Source, opt.Request.Ref
	// These options need nothing beyond the bundle.
	for _, name := range opt.Chosen {
		switch name {
		case "cpu":
			r.CPU = opt.Request.CPU
		case "cmake-flag":
			r.CMakeFlags = opt.Request.CMakeFlags
		case "programs":
			r.Programs = opt.Request.Programs
		case "no-ui":
			r.NoUI = opt.Request.NoUI
		}
	}
	opt.Request = r
	return opt, &f, nil
}

// find checks that everything the build needs is here, and returns the source.
func (o *offline) find(ctx context.Context, r source.Resolver, w *platformBuild) (source.Checkout, error) {
	// Git would fetch what a partial clone lacks; forbid that.
	r.Env = append(os.Environ(), "GIT_ALLOW_PROTOCOL=file")
	var c source.Checkout
	var err error
	uiLock := o.lock.Source.UILock
	if w.Patched {
		if c, err = r.Resolve(ctx, w.Request.Source, w.Request.Ref); err != nil {
			return c, err
		}
		uiLock = ""
		if t := c.Facts.Tree; t != nil && t.UI && !w.Request.NoUI {
			uiLock = t.UILock
		}
	}
	if missing := o.missing(w.Patched, uiLock); len(missing) > 0 {
		what := "cannot build offline: one thing is not on this machine"
		if len(missing) > 1 {
			what = fmt.Sprintf("cannot build offline: %d things are not on this machine", len(missing))
		}
		return c, fault.New(fault.Machine, what, errors.New(strings.Join(missing, "\n")),
			"run llorch-bk bundle create on a machine with a network, and llorch-bk bundle load FILE here")
	}
	if w.Patched {
		return c, nil
	}
	packed, _ := o.source(o.lock.Source.Commit)
	return r.Packed(ctx, packed, o.lock.Source.Repository, o.lock.Source.Commit)
}

// missing lists everything that a build needs and that is not here. A patched tree may need
// other npm packages for its web UI than the lock's tree.
func (o *offline) missing(patched bool, uiLock string) []string {
	var out []string
	p := o.lock.Platforms[o.platform]
	for _, b := range (bundle.Artifact{Lock: o.lock, Platform: o.platform}).Bases() {
		if _, err := o.store.Image(digest.Digest(b.Digest), o.platform); err != nil {
			out = append(out, fmt.Sprintf("the base %s@%s (%v)", b.Ref, b.Digest, err))
		}
	}
	for _, set := range []struct {
		name string
		all  []images.Package
	}{{"toolchain", p.Packages.Toolchain}, {"accelerator", p.Packages.Accelerator}, {"ui", p.Packages.UI}, {"runtime", p.Packages.Runtime}} {
		if set.name == "ui" && uiLock == "" {
			continue
		}
		for _, pkg := range set.all {
			if _, ok := o.file(digest.NewDigestFromEncoded(digest.SHA256, pkg.SHA256)); !ok {
				out = append(out, fmt.Sprintf("the package %s %s (%s)", pkg.Name, pkg.Version, set.name))
			}
		}
	}
	if _, ok := o.source(o.lock.Source.Commit); !ok && !patched {
		out = append(out, "the source, commit "+o.lock.Source.Commit)
	}
	if uiLock != "" && o.npm(uiLock, o.platform) == nil {
		why := "the web UI's npm packages"
		if patched && uiLock != o.lock.Source.UILock {
			why += ", because " + images.UILockFile + " differs from the lock's (--no-ui leaves out the web UI)"
		}
		out = append(out, why)
	}
	return out
}

// offlineNeeds returns an error if the engine's BuildKit cannot build offline.
func offlineNeeds(ctx context.Context, b *buildkit.Builder) error {
	caps, err := b.Capabilities(ctx)
	if err != nil {
		return err
	}
	if caps.OCILayout {
		return nil
	}
	return fault.New(fault.Machine, b.String()+" cannot use a base image from this machine", errors.New("it is older than BuildKit 0.12"), "use --builder managed")
}
