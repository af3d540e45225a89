package app

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"runtime"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/bundle"
	"github.com/llorch/llorch-bk/runtime/model"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// LoadBundle imports a bundle for offline builds on this machine, and its model into the
// model store.
func (a *App) LoadBundle(ctx context.Context, file string) ([]Kept, error) {
	d, err := OpenDisplay(a.Err, a.Progress)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	all, err := a.loadBundle(ctx, d, file)
	return all, interrupted(ctx, err)
}

func (a *App) loadBundle(ctx context.Context, d *Display, file string) ([]Kept, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fault.New(fault.Usage, "cannot read the bundle "+file, err, "name a file that llorch-bk bundle create wrote")
	}
	store, err := a.bundles()
	if err != nil {
		return nil, err
	}
	total := info.Size()
	if info.IsDir() {
		total = size(file)
	}
	step := d.begin("load "+file, "verifying", total)
	found, err := store.Load(ctx, file, step.Set)
	step.End(err)
	if err != nil {
		return nil, badBundle(file, err)
	}
	var out []Kept
	for _, art := range found {
		if art.Lock.Recipe != images.Recipe(llb.ScriptsDigest()) {
			d.notice("another version of llorch-bk wrote this bundle's lock; only that version can build it, so copy it to this machine too")
		}
		if err := a.acceptModels(ctx, store, art); err != nil {
			return nil, err
		}
		c, err := store.Contents(art)
		bases := c.Bytes - sizeOf(art.Blobs)
		if errors.Is(err, bundle.ErrNotThere) {
			bases = 0 // It holds packages only.
		} else if err != nil {
			return nil, badBundle(file, err)
		}
		out = append(out, keptOf(art, bases))
	}
	return out, nil
}

// badBundle tells a problem of the file from a problem of this machine.
func badBundle(file string, err error) error {
	var damaged *bundle.DamagedError
	var disk *fs.PathError
	var known *fault.Fault
	switch {
	case errors.As(err, &damaged), errors.Is(err, bundle.ErrNotThere):
		return fault.New(fault.Usage, "the bundle "+file+" is damaged", err, "copy it again, or create it again with llorch-bk bundle create")
	case errors.Is(err, bundle.ErrNoBundle):
		return fault.New(fault.Usage, "cannot load "+file, err, "name a file that llorch-bk bundle create wrote")
	case errors.As(err, &known):
		return fault.New(fault.Usage, "cannot use the bundle "+file, err, known.Do)
	case errors.As(err, &disk):
		return fault.New(fault.Machine, "cannot load the bundle "+file, err, diskAdvice(disk.Path, otherCache, err))
	}
	return fault.New(fault.Usage, "the bundle "+file+" is damaged", err, "copy it again, or create it again with llorch-bk bundle create")
}

// acceptModels moves a bundle's model into the model store.
func (a *App) acceptModels(ctx context.Context, store *bundle.Store, art bundle.Artifact) error {
	blobs := art.Of(bundle.ModelType)
	if len(blobs) == 0 {
		return nil
	}
	f, err := a.fetcher(nil)
	if err != nil {
		return err
	}
	for _, b := range blobs {
		err := f.Store.Accept(ctx, model.Carried{
			Path: store.Path(b.Digest), Size: b.Size, SHA256: b.Digest.Encoded(), File: b.Annotations[bundle.AnnotationModelFile],
			Revision: b.Annotations[bundle.AnnotationModelRevision], Ref: b.Annotations[bundle.AnnotationModel],
		})
		if err != nil {
			return fault.New(fault.Model, "cannot store the bundle's model "+b.Annotations[ocispec.AnnotationTitle], err, diskAdvice(f.Store.Dir(), otherModels, err))
		}
	}
	for _, b := range blobs {
		if err := store.Remove(b.Digest); err != nil {
			return notKept(store.Dir(), err)
		}
	}
	return nil
}

// bundledBuilder returns BuildKit's daemon from a bundle that was loaded here; nil if no
// bundle has one for this machine.
func (a *App) bundledBuilder() ([]byte, error) {
	store, err := a.bundles()
	if err != nil {
		return nil, err
	}
	all, err := store.Artifacts()
	if err != nil {
		return nil, err
	}
	for _, art := range all {
		if art.Platform != "linux/"+runtime.GOARCH {
			continue
		}
		for _, b := range art.Of(bundle.BuilderType) {
			if store.Has(b.Digest) {
				return store.Read(b.Digest)
			}
		}
	}
	return nil, nil
}
