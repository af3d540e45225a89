package app

import (
	"context"
	"errors"
	"io"

	"github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// BundleOptions is a bundle as the user asked for it.
type BundleOptions struct {
	// BuildOptions name the lock, and the builder that fetches packages.
	BuildOptions
	// Model is the ref of a model to add; empty for the lock's model, if it has one.
	Model string
	// Output receives the bundle.
	Output io.Writer
	// File is the path of Output.
	File string
}

// CreateBundle packs everything that a lock names for one platform into one archive.
func (a *App) CreateBundle(ctx context.Context, opt BundleOptions) (Kept, error) {
	wanted, err := carriedModel(opt.Model)
	if err != nil {
		return Kept{}, err
	}
	lock, err := opt.theLock()
	if err != nil {
		return Kept{}, err
	}
	if opt.Model == "" {
		opt.Model = lock.Model.Pinned
		if wanted, err = carriedModel(opt.Model); err != nil {
			return Kept{}, err
		}
	}
	docker, closeIt := a.maybeEngine(ctx)
	defer closeIt()
	d, err := OpenDisplay(a.Err, a.Progress)
	if err != nil {
		return Kept{}, err
	}
	defer d.Close()
	k, err := a.createBundle(ctx, d, docker, opt, wanted)
	return k, interrupted(ctx, err)
}

// carriedModel parses the ref of a model for a bundle. An empty ref gives the zero value.
func carriedModel(raw string) (model.Ref, error) {
	if raw == "" {
		return model.Ref{}, nil
	}
	r, err := model.Parse(raw)
	if err == nil && r.Kind == ref.File {
		err = fault.New(fault.Usage, "a bundle cannot hold the model "+r.Raw, errors.New("it is a local file"), "copy the file to the other machine, and name it there with --model")
	}
	return r, err
}

func (a *App) createBundle(ctx context.Context, d *Display, docker *client.Client, opt BundleOptions, wanted model.Ref) (Kept, error) {
	store, err := a.bundles()
	if err != nil {
		return Kept{}, err
	}
	f, done, err := a.filler(ctx, d, docker, opt.BuildOptions, store)
	if err != nil {
		return Kept{}, err
	}
	defer done()
	lock, err := opt.theLock()
	if err != nil {
		return Kept{}, err
	}
	bases, err := f.bases(ctx, lock)
	if err != nil {
		return Kept{}, err
	}
	var blobs []ocispec.Descriptor
	for _, part := range []func(context.Context) ([]ocispec.Descriptor, error){f.packages, f.source, f.builder} {
		more, err := part(ctx)
		if err != nil {
			return Kept{}, err
		}
		blobs = append(blobs, more...)
	}
	elsewhere := map[digest.Digest]string{}
	if opt.Model != "" {
		more, err := f.model(ctx, wanted, elsewhere)
		if err != nil {
			return Kept{}, err
		}
		blobs = append(blobs, more...)
	}
	art, err := store.Keep(ctx, lock, f.platform, blobs, bases)
	if err != nil {
		return Kept{}, notKept(store.Dir(), err)
	}
	c, err := store.Contents(art)
	if err != nil {
		return Kept{}, notKept(store.Dir(), err)
	}
	step := d.begin("write "+opt.File, "writing", c.Bytes)
	err = store.WriteArchive(ctx, opt.Output, c, elsewhere, step.Set)
	step.End(err)
	if err != nil {
		return Kept{}, notKept(opt.File, err)
	}
	k := keptOf(art, c.Bytes-sizeOf(blobs))
	k.Where = opt.File
	return k, nil
}
