package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/buildkit"
	"github.com/llorch/llorch-bk/llb/bundle"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// shelf finds what locks name on this machine: in a store, and then in further ones.
type shelf struct {
	store     *bundle.Store
	artifacts []bundle.Artifact
	more      []shelf
}

// openKept opens a folder that lock --keep wrote.
func openKept(dir string) (shelf, error) {
	store, err := bundle.Open(dir)
	if err == nil {
		var all []bundle.Artifact
		if all, err = store.Artifacts(); err == nil && len(all) == 0 {
			err = errors.New("it holds nothing for a lock")
		}
		if err == nil {
			return shelf{store: store, artifacts: all}, nil
		}
	}
	return shelf{}, fault.New(fault.Usage, dir+" holds no packages of a lock", err, "store them with llorch-bk lock --keep "+dir)
}

// file returns the path of a blob.
func (s shelf) file(d digest.Digest) (string, bool) {
	if s.store.Has(d) {
		return s.store.Path(d), true
	}
	for _, m := range s.more {
		if file, ok := m.file(d); ok {
			return file, true
		}
	}
	return "", false
}

// source returns the path of the git bundle with a commit.
func (s shelf) source(commit string) (string, bool) {
	for _, a := range s.artifacts {
		for _, b := range a.Of(bundle.SourceType) {
			if b.Annotations[bundle.AnnotationCommit] == commit && s.store.Has(b.Digest) {
				return s.store.Path(b.Digest), true
			}
		}
	}
	return "", false
}

// npm returns the packages of a web UI, by the digest of its lock file; nil if some are
// missing.
func (s shelf) npm(uiLock, platform string) map[string]buildkit.KeptFile {
	for _, a := range s.artifacts {
		if a.Lock.Source.UILock != uiLock || a.Platform != platform {
			continue
		}
		if found := s.npmOf(a.Of(bundle.NPMType)); found != nil {
			return found
		}
	}
	for _, m := range s.more {
		if found := m.npm(uiLock, platform); found != nil {
			return found
		}
	}
	return nil
}

func (s shelf) npmOf(blobs []ocispec.Descriptor) map[string]buildkit.KeptFile {
	found := map[string]buildkit.KeptFile{}
	for _, b := range blobs {
		sum := bundle.SHA512(b)
		if sum == "" || !s.store.Has(b.Digest) {
			return nil
		}
		found[sum] = buildkit.KeptFile{File: s.store.Path(b.Digest), SHA256: b.Digest.Encoded()}
	}
	if len(found) == 0 {
		return nil
	}
	return found
}

// keptFor is what one build may use from this machine.
type keptFor struct {
	shelf    *shelf
	offline  bool
	platform string
}

// kept finds what a build may use from this machine, by its options.
func (a *App) kept(ctx context.Context, d *Display, w platformBuild) (keptFor, error) {
	k := keptFor{platform: w.Request.Platform}
	switch {
	case w.offline != nil:
		k.shelf, k.offline = &w.offline.shelf, true
	case w.KeptAt == "" || w.locked == nil:
	case strings.HasPrefix(w.KeptAt, bundle.Scheme):
		s, err := a.pullKept(ctx, d, w)
		if err != nil {
			return k, err
		}
		k.shelf = &s
	default:
		s, err := openKept(w.KeptAt)
		if err != nil {
			return k, err
		}
		k.shelf = &s
	}
	return k, nil
}

// bases returns the base images for collecting facts.
func (k keptFor) bases() buildkit.Kept {
	if !k.offline {
		return buildkit.Kept{}
	}
	images, err := k.shelf.store.Content()
	return buildkit.Kept{Images: images, Config: func(d string) ([]byte, error) {
		if err != nil {
			return nil, err
		}
		return k.shelf.store.Image(digest.Digest(d), k.platform)
	}}
}

// all returns everything for the build itself.
func (k keptFor) all(f images.Facts) buildkit.Kept {
	out := k.bases()
	if k.shelf == nil {
		return out
	}
	out.Package = k.pkg
	if f.Source.Tree != nil && f.Source.Tree.UILock != "" {
		out.NPM = k.shelf.npm(f.Source.Tree.UILock, k.platform)
	}
	return out
}

// pkg returns the path of a package by its sha256 in hex.
func (k keptFor) pkg(sum string) (string, bool) {
	return k.shelf.file(digest.NewDigestFromEncoded(digest.SHA256, sum))
}

// pullKept fetches what a registry stores for a lock, unless it is here already.
func (a *App) pullKept(ctx context.Context, d *Display, w platformBuild) (shelf, error) {
	failed := func(err error) (shelf, error) {
		return shelf{}, fault.New(fault.Machine, "cannot fetch the packages from "+w.KeptAt, err, cmp.Or(registryAdvice(err), "remove --kept to fetch them from the mirrors"))
	}
	store, err := a.bundles()
	if err != nil {
		return shelf{}, err
	}
	reg, err := bundle.AtRegistry(w.KeptAt, trusting(w.caCert))
	if err != nil {
		return failed(err)
	}
	all, err := reg.Artifacts(ctx, store)
	if err != nil {
		return failed(err)
	}
	s := shelf{store: store, artifacts: all}
	blobs, total := s.wants(w)
	if len(blobs) == 0 {
		return s, nil
	}
	step := d.Begin(fmt.Sprintf("fetch %d packages from %s", len(blobs), reg), total)
	err = reg.Pull(ctx, store, blobs, step.Set)
	step.End(err)
	if err != nil {
		return failed(err)
	}
	return s, nil
}

// wants returns the listed blobs that a locked build needs and that are not here.
func (s shelf) wants(w platformBuild) (blobs []ocispec.Descriptor, total int64) {
	wanted, seen := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	p := w.locked.Packages
	for _, set := range [][]images.Package{p.Toolchain, p.Accelerator, p.UI, p.Runtime} {
		for _, pkg := range set {
			wanted[digest.NewDigestFromEncoded(digest.SHA256, pkg.SHA256)] = true
		}
	}
	uiLock := ""
	if t := w.locked.Source.Tree; t != nil {
		uiLock = t.UILock
	}
	for _, a := range s.artifacts {
		npm := uiLock != "" && a.Lock.Source.UILock == uiLock && a.Platform == w.Request.Platform
		for _, b := range a.Blobs {
			if (wanted[b.Digest] || npm && b.MediaType == bundle.NPMType) && !seen[b.Digest] && !s.store.Has(b.Digest) {
				seen[b.Digest] = true
				blobs, total = append(blobs, b), total+b.Size
			}
		}
	}
	return blobs, total
}
