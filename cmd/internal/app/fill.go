package app

import (
	"context"
	"os"
	"path"
	"path/filepath"

	"github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/bundle"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// filler copies what a lock names into a store.
type filler struct {
	a        *App
	d        *Display
	w        platformBuild
	p        begun
	platform string
	store    *bundle.Store
}

// filler opens a builder for a lock. The builder fetches packages as a build would.
func (a *App) filler(ctx context.Context, d *Display, docker *client.Client, opt BuildOptions, store *bundle.Store) (*filler, func(), error) {
	w, err := a.resolve(ctx, d, docker != nil, opt)
	if err != nil {
		return nil, nil, err
	}
	p, err := a.begin(ctx, d, docker, []platformBuild{w})
	if err != nil {
		return nil, nil, err
	}
	return &filler{a: a, d: d, w: w, p: p, platform: w.Request.Platform, store: store}, func() { p.b.Close() }, nil
}

// packages stores the distribution's packages and npm's.
func (f *filler) packages(ctx context.Context) ([]ocispec.Descriptor, error) {
	var out []ocispec.Descriptor
	for _, set := range llb.Fetches(f.p.job.Plan) {
		blobs, err := f.set(ctx, set)
		if err != nil {
			return nil, err
		}
		out = append(out, blobs...)
	}
	if f.p.job.Plan.UI == nil {
		return out, nil
	}
	npm, err := f.npm(ctx)
	return append(out, npm...), err
}

// set stores one set of the distribution's packages.
func (f *filler) set(ctx context.Context, set llb.Fetch) ([]ocispec.Descriptor, error) {
	var missing []images.Package
	for _, p := range set.Packages {
		if !f.store.Sound(ctx, digest.NewDigestFromEncoded(digest.SHA256, p.SHA256)) {
			missing = append(missing, p)
		}
	}
	if len(missing) > 0 {
		err := inFolder(func(dir string) error {
			if err := f.p.b.Download(ctx, f.p.job, set.Base, missing, dir); err != nil {
				return err
			}
			for _, p := range missing {
				if _, err := f.store.PutFile(ctx, digest.NewDigestFromEncoded(digest.SHA256, p.SHA256), filepath.Join(dir, path.Base(p.Path))); err != nil {
					return notKept(f.store.Dir(), err)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	var out []ocispec.Descriptor
	for _, p := range set.Packages {
		out = append(out, ocispec.Descriptor{
			MediaType: bundle.PackageType, Digest: digest.NewDigestFromEncoded(digest.SHA256, p.SHA256), Size: p.Size,
			Annotations: map[string]string{ocispec.AnnotationTitle: path.Base(p.Path)},
		})
	}
	return out, nil
}

// npm stores the packages of the web UI. It reuses those of any stored lock with the same
// npm lock file.
func (f *filler) npm(ctx context.Context) ([]ocispec.Descriptor, error) {
	all, err := f.store.Artifacts()
	if err != nil {
		return nil, notKept(f.store.Dir(), err)
	}
	kept := shelf{store: f.store, artifacts: all}
	for _, a := range all {
		if a.Lock.Source.UILock == f.w.locked.Source.Tree.UILock && a.Platform == f.platform {
			if npm := a.Of(bundle.NPMType); kept.npmOf(npm) != nil {
				return npm, nil
			}
		}
	}
	var out []ocispec.Descriptor
	err = inFolder(func(dir string) error {
		if err := f.p.b.DownloadNPM(ctx, f.p.job, dir); err != nil {
			return err
		}
		files, err := bundle.NPMFiles(filepath.Join(dir, llb.NPMContent), filepath.Join(dir, llb.NPMLock))
		if err != nil {
			return fault.New(fault.Build, "the web UI's packages do not match their lock file", err, "")
		}
		for _, file := range files {
			if _, err := f.store.PutFile(ctx, file.Digest, file.File); err != nil {
				return notKept(f.store.Dir(), err)
			}
			out = append(out, file.Descriptor)
		}
		return nil
	})
	return out, err
}

// inFolder calls do with a temporary folder and removes the folder afterwards.
func inFolder(do func(dir string) error) error {
	dir, err := os.MkdirTemp("", "llorch-keep-")
	if err != nil {
		return fault.New(fault.Machine, "cannot create a temporary folder", err, diskAdvice(os.TempDir(), otherTemp, err))
	}
	defer os.RemoveAll(dir)
	return do(dir)
}
