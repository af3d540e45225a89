package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/client"
	"github.com/google/renameio/v2"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/buildkit"
	"github.com/llorch/llorch-bk/llb/source"
)

// Parts of a lock that can be updated alone.
const (
	LockSource   = "source"
	LockBase     = "base"
	LockPackages = "packages"
	LockModel    = "model"
)

// LockParts are the values of LockOptions.Update.
var LockParts = []string{LockSource, LockBase, LockPackages, LockModel}

// LockOptions is a lock as the user asked for it.
type LockOptions struct {
	BuildOptions
	// File is the path of the lock.
	File string
	// SourceChosen is true if the user named a source, which then replaces the lock's.
	SourceChosen bool
	// Model is the ref of a model to lock, or to update to. If it is empty, an update takes
	// the lock's ref, and a new lock has no model.
	Model string
	// Update is the part to update; empty writes the whole lock anew.
	Update string
	// Check writes nothing, and fails if the lock is out of date.
	Check bool
	// Keep is a folder or registry (oci://…) to store the packages in; empty for none.
	Keep string
}

// Locked is the result of Lock.
type Locked struct {
	File string `json:"file"`
	// Changed are the parts that differ from the old lock; none for a new lock.
	Changed []images.Difference `json:"changed,omitempty"`
	// New is true if there was no lock.
	New  bool        `json:"new,omitempty"`
	Lock images.Lock `json:"lock"`
	// Kept describes the stored packages; nil if none were asked for.
	Kept *Kept `json:"kept,omitempty"`
}

// Lock looks up everything that an image is made of and writes it to the lock.
func (a *App) Lock(ctx context.Context, opt LockOptions) (Locked, error) {
	old, err := readLock(opt.File)
	switch there := !errors.Is(err, fs.ErrNotExist); {
	case there && err != nil && (opt.Update != "" || opt.Check):
		return Locked{}, err
	case !there && (opt.Update != "" || opt.Check):
		return Locked{}, fault.New(fault.Usage, "there is no lock "+opt.File, nil, "write one first: llorch-bk lock")
	}
	if opt.Update != "" && !slices.Contains(LockParts, opt.Update) {
		return Locked{}, fault.New(fault.Usage, fmt.Sprintf("--update must be one of %s, got %q", strings.Join(LockParts, ", "), opt.Update), nil, "see llorch-bk lock --help")
	}
	docker, closeIt := a.maybeEngine(ctx)
	defer closeIt()
	d, err := OpenDisplay(a.Err, a.Progress)
	if err != nil {
		return Locked{}, err
	}
	defer d.Close()
	lock := old
	if opt.Update != LockModel {
		if lock, err = a.lock(ctx, d, docker, opt, old); err != nil {
			return Locked{}, interrupted(ctx, err)
		}
	}
	if lock.Model, err = a.lockModel(ctx, d, opt, old.Model); err != nil {
		return Locked{}, interrupted(ctx, err)
	}
	out := Locked{File: opt.File, Lock: lock, New: old.Schema == 0}
	if !out.New {
		out.Changed = old.Differences(lock)
	}
	if opt.Check {
		if len(out.Changed) > 0 {
			return out, fault.New(fault.Usage, "the lock is out of date: "+out.Changed[0].String(), nil, "update it with llorch-bk lock --update "+strings.Join(LockParts, "|"))
		}
		return out, nil
	}
	data, err := lock.Encode()
	if err != nil {
		return out, err
	}
	if opt.Keep != "" {
		if out.Kept, err = a.keep(ctx, d, docker, opt, lock); err != nil {
			return out, interrupted(ctx, err)
		}
	}
	if err := renameio.WriteFile(opt.File, data, 0o644, renameio.WithTempDir(filepath.Dir(opt.File))); err != nil {
		return out, fault.New(fault.Machine, "cannot write the lock "+opt.File, err, diskAdvice(filepath.Dir(opt.File), "name another file with --lock", err))
	}
	return out, nil
}

func readLock(file string) (images.Lock, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return images.Lock{}, err
	}
	return images.DecodeLock(data)
}

// lock looks up the parts that are to change, and keeps the rest of the old lock.
func (a *App) lock(ctx context.Context, d *Display, docker *client.Client, opt LockOptions, old images.Lock) (images.Lock, error) {
	var each []BuildOptions
	for _, platform := range opt.platforms() {
		one := opt
		one.BuildOptions = opt.on(platform)
		build, err := one.request(old)
		if err != nil {
			return images.Lock{}, err
		}
		each = append(each, build)
	}
	all, err := a.resolveAll(ctx, d, docker != nil, each)
	if err != nil {
		return images.Lock{}, err
	}
	b, err := a.builder(ctx, d, docker, all[0])
	if err != nil {
		return images.Lock{}, err
	}
	defer b.Close()
	fresh, distribution := images.Lock{}, ""
	for _, w := range all {
		if opt.Update == LockPackages {
			on := old.Platforms[w.Request.Platform]
			w.bases = &images.Facts{Build: on.Build, Runtime: on.Runtime, Accelerator: on.Accelerator}
		}
		l, on, err := a.lockOne(ctx, d, docker, b, w)
		if err != nil {
			return images.Lock{}, err
		}
		if fresh.Schema == 0 {
			fresh, distribution = l, on
		}
		maps.Copy(fresh.Platforms, l.Platforms)
	}
	return compose(opt.Update, old, fresh, snapshots(distribution, time.Now())), nil
}

// lockOne locks an image for one platform, and returns the distribution's name.
func (a *App) lockOne(ctx context.Context, d *Display, docker *client.Client, b *buildkit.Builder, w platformBuild) (images.Lock, string, error) {
	facts, local, err := a.collect(ctx, d, docker, b, w, buildkit.Kept{})
	if err != nil {
		return images.Lock{}, "", err
	}
	if source.IsRemote(w.Request.Source) {
		cache, err := a.CacheDir()
		if err == nil {
			err = w.policy.Git(w.checkout.Location, facts.Source.Commit)
		}
		if err != nil {
			return images.Lock{}, "", err
		}
		if facts.Source, err = (source.Resolver{Dir: filepath.Join(cache, "sources")}).Known(ctx, w.checkout.Location, facts.Source); err != nil {
			return images.Lock{}, "", err
		}
	}
	plan, err := images.MakePlan(w.Request, facts.Facts)
	if err != nil {
		return images.Lock{}, "", err
	}
	found, err := b.Packages(ctx, buildkit.Job{Plan: plan, Capabilities: facts.Capabilities, Local: local, Proxy: a.proxy(), CACert: w.caCert, Status: d.Update})
	if err != nil {
		return images.Lock{}, "", err
	}
	l, err := images.MakeLock(w.Request, facts.Facts, plan, found.PackageSets)
	return l, found.Distribution, err
}

// request returns the build to lock: from the flags for a whole new lock, else from the old
// lock.
func (o LockOptions) request(old images.Lock) (BuildOptions, error) {
	b := o.BuildOptions
	b.Request.Tags = nil
	if o.Update == "" && !o.Check {
		return b, nil
	}
	platform := b.Request.Platform
	if _, ok := old.Platforms[platform]; !ok {
		return b, fault.New(fault.Usage, "the lock has no platform "+platform, nil, "add it with llorch-bk lock --platform "+platform)
	}
	if ours := images.Recipe(llb.ScriptsDigest()); old.Recipe != ours && o.Update != "" {
		return b, fault.New(fault.Usage, "cannot update a part of this lock", errors.New("another version of llorch-bk wrote it, and that version builds in another way"), "write the whole lock again: llorch-bk lock")
	}
	asked := o.Request
	b.Request = old.Asks(platform)
	switch {
	case o.Update == LockSource:
		// The lock's branch may have moved.
		if asked.Ref != "" || o.SourceChosen {
			b.Request.Ref = asked.Ref
		}
		if o.SourceChosen {
			b.Request.Source = asked.Source
		}
	case o.Update != "":
		b.Request.Ref = old.Source.Commit
	}
	return b, nil
}

// compose combines the new part with the old lock. Other platforms are kept if their
// source, request and program version are the same.
func compose(part string, old, fresh images.Lock, snapshots []string) images.Lock {
	for name, p := range fresh.Platforms {
		was, had := old.Platforms[name]
		switch {
		case had && part == LockSource:
			p = was
		case had && part == LockPackages:
			p.Build, p.Runtime, p.Accelerator = was.Build, was.Runtime, was.Accelerator
		}
		// The snapshot time belongs to these packages; it changes only with them.
		p.Snapshots = snapshots
		if had && samePackages(was.Packages, p.Packages) {
			p.Snapshots = was.Snapshots
		}
		fresh.Platforms[name] = p
	}
	if part != "" && part != LockSource {
		fresh.Source, fresh.Request, fresh.Recipe = old.Source, old.Request, old.Recipe
	}
	if reflect.DeepEqual([]any{old.Recipe, old.Source, old.Request}, []any{fresh.Recipe, fresh.Source, fresh.Request}) {
		for name, p := range old.Platforms {
			if _, ok := fresh.Platforms[name]; !ok {
				fresh.Platforms[name] = p
			}
		}
	}
	return fresh
}

func samePackages(x, y images.PackageSets) bool {
	return slices.Equal(x.Toolchain, y.Toolchain) && slices.Equal(x.Accelerator, y.Accelerator) && slices.Equal(x.UI, y.UI) && slices.Equal(x.Runtime, y.Runtime)
}

// snapshots are the addresses of services that keep a distribution's archive as of a time.
// They use http: a slim base has no CA certificates, and each package's hash is verified.
func snapshots(distribution string, now time.Time) []string {
	at := now.UTC().Format("20060102T150405Z")
	switch distribution {
	case "debian":
		return []string{"http://snapshot.debian.org/archive/debian/" + at, "http://snapshot.debian.org/archive/debian-security/" + at}
	case "ubuntu":
		return []string{"http://snapshot.ubuntu.com/ubuntu/" + at}
	}
	return nil
}

// openLock reads a lock that must exist.
func openLock(file string) (images.Lock, error) {
	lock, err := readLock(file)
	if errors.Is(err, fs.ErrNotExist) {
		err = fault.New(fault.Usage, "there is no lock "+file, nil, "write one first: llorch-bk lock")
	}
	return lock, err
}

// theLock returns the lock of a locked build.
func (o BuildOptions) theLock() (images.Lock, error) {
	if o.lock != nil {
		return *o.lock, nil
	}
	return openLock(o.Locked)
}

// fromLock replaces a request and its facts with those of a lock.
func fromLock(opt BuildOptions) (BuildOptions, *images.Facts, []byte, error) {
	lock, err := opt.theLock()
	if err != nil {
		return opt, nil, nil, err
	}
	r, f, err := lock.Locked(opt.Request.Platform, opt.Request.Tags, llb.ScriptsDigest())
	if err != nil {
		return opt, nil, nil, err
	}
	opt.Request = r
	// The image records the lock in canonical form, without the model: it serves any model.
	lock.Model = images.LockModel{}
	data, err := lock.Encode()
	return opt, &f, data, err
}

// keepTo completes facts from a lock, and refuses facts that contradict it.
func keepTo(f *images.Facts, locked images.Facts) error {
	differs := func(part, has, want string) error {
		return fault.New(fault.Usage, "cannot build from the lock: "+part, fmt.Errorf("the lock has %s, the source %s", want, has), "see what changed with llorch-bk lock --check")
	}
	has, want := f.Source, locked.Source
	switch {
	case has.Dirty || has.Content != "":
		return differs("source", "a tree with changes", "commit "+want.Commit)
	case has.Commit != want.Commit:
		return differs("source.commit", has.Commit, want.Commit)
	case has.TreeID != "" && want.TreeID != "" && has.TreeID != want.TreeID:
		return differs("source.tree", has.TreeID, want.TreeID)
	case !has.Time.IsZero() && !has.Time.Equal(want.Time):
		return differs("source.time", has.Time.Format(time.RFC3339), want.Time.Format(time.RFC3339))
	case locked.Builder != "" && f.Builder != "" && locked.Builder != f.Builder:
		return differs("builder", "one of "+f.Builder, "a builder of "+locked.Builder)
	case want.Tree != nil && has.Tree != nil && want.Tree.UILock != has.Tree.UILock:
		return differs("source.ui_lock", has.Tree.UILock, want.Tree.UILock)
	}
	f.Source.Time, f.Source.TreeID, f.Source.Tag, f.Source.Depth = want.Time, want.TreeID, want.Tag, want.Depth
	f.Packages, f.Snapshots = locked.Packages, locked.Snapshots
	return nil
}
