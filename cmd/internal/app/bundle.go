package app

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/docker/docker/client"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/bundle"
	"github.com/llorch/llorch-bk/llb/source"
	"github.com/llorch/llorch-bk/runtime/model"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// BundleOptions are what the user asked of a bundle.
type BundleOptions struct {
	// BuildOptions have the lock, and the builder that fetches packages.
	BuildOptions
	// Model is the ref of a model that goes along; empty for none.
	Model string
	// Output is given the bundle.
	Output io.Writer
	// File is what Output is called.
	File string
}

// CreateBundle puts everything that a lock names on one platform into one archive.
func (a *App) CreateBundle(ctx context.Context, opt BundleOptions) (Kept, error) {
	var ref model.Ref
	if opt.Model != "" {
		var err error
		if ref, err = model.Parse(opt.Model); err != nil {
			return Kept{}, err
		}
		if ref.Kind == model.File {
			return Kept{}, fault.New(fault.Usage, "--model "+opt.Model+" does not go into a bundle", errors.New("it is a file of your own"), "copy it beside the bundle, and name it there")
		}
	}
	if _, err := opt.theLock(); err != nil {
		return Kept{}, err
	}
	docker, closeIt := a.maybeEngine(ctx)
	defer closeIt()
	d, err := OpenDisplay(a.Err, a.Progress)
	if err != nil {
		return Kept{}, err
	}
	defer d.Close()
	k, err := a.createBundle(ctx, d, docker, opt, ref)
	return k, interrupted(ctx, err)
}

func (a *App) createBundle(ctx context.Context, d *Display, docker *client.Client, opt BundleOptions, ref model.Ref) (Kept, error) {
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
		more, err := f.model(ctx, ref, elsewhere)
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

// bases are the images that the lock names, for the platform.
func (f *filler) bases(ctx context.Context, lock images.Lock) ([]ocispec.Descriptor, error) {
	var out []ocispec.Descriptor
	for _, b := range (bundle.Artifact{Lock: lock, Platform: f.platform}).Bases() {
		one, err := f.base(ctx, b)
		if err != nil {
			return nil, err
		}
		one.Annotations = map[string]string{ocispec.AnnotationRefName: b.Ref}
		out = append(out, one)
	}
	return out, nil
}

func (f *filler) base(ctx context.Context, b images.BaseFacts) (ocispec.Descriptor, error) {
	want := digest.Digest(b.Digest)
	index, err := f.store.Index()
	if err != nil {
		return ocispec.Descriptor{}, notKept(f.store.Dir(), err)
	}
	for _, d := range index.Manifests {
		if d.Digest == want {
			if _, err := f.store.Image(want, f.platform); err == nil {
				return d, nil
			}
		}
	}
	if b.Layout {
		return f.ownBase(ctx, want)
	}
	bare, _, _ := strings.Cut(b.Ref, "@")
	ref, err := name.ParseReference(bare)
	if err != nil {
		return ocispec.Descriptor{}, fault.New(fault.Usage, "the base "+b.Ref+" has no name that a registry takes", err, "")
	}
	step := f.d.Begin("fetch the base "+b.Ref, 0)
	d, err := bundle.PullImage(ctx, f.store, ref.Context().Digest(b.Digest), f.platform, bundle.Options(trusting(f.w.caCert)), func(int64) {})
	step.End(err)
	if err != nil {
		return d, fault.New(fault.Machine, "the base "+b.Ref+"@"+b.Digest+" cannot be had", err, "check the network, and the login: docker login")
	}
	return d, nil
}

// ownBase is one that was bootstrapped on this machine.
func (f *filler) ownBase(ctx context.Context, want digest.Digest) (ocispec.Descriptor, error) {
	local := f.p.job.Local
	if local == nil || local.Manifest != want {
		return ocispec.Descriptor{}, fault.New(fault.Machine, "the base "+want.String()+" cannot be had", errors.New("it was bootstrapped on another machine"), "take this machine's: llorch-bk lock --update base")
	}
	from := local.Store
	info, err := from.Info(ctx, want)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	top := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: want, Size: info.Size}
	copyOne := func(d ocispec.Descriptor) error {
		r, err := from.ReaderAt(ctx, d)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = f.store.Put(ctx, d.Digest, content.NewReader(r))
		return err
	}
	data, err := content.ReadBlob(ctx, from, top)
	if err != nil {
		return top, err
	}
	m, err := bundle.ReadManifest(data)
	if err != nil {
		return top, err
	}
	for _, d := range append([]ocispec.Descriptor{m.Config, top}, m.Layers...) {
		if err := copyOne(d); err != nil {
			return top, notKept(f.store.Dir(), err)
		}
	}
	return top, nil
}

// source is the locked commit.
func (f *filler) source(ctx context.Context) ([]ocispec.Descriptor, error) {
	var out []ocispec.Descriptor
	commit, from := f.w.locked.Source.Commit, f.w.checkout.Location
	err := f.d.Do("pack the source", func(*Step) error {
		return inFolder(func(dir string) error {
			file := filepath.Join(dir, "source.bundle")
			if err := (source.Resolver{}).Pack(ctx, from, commit, file); err != nil {
				return err
			}
			d, err := f.putFile(ctx, file, bundle.SourceType, "source.bundle")
			d.Annotations[bundle.AnnotationCommit] = commit
			out = append(out, d)
			return err
		})
	})
	return out, err
}

// builder is the daemon that a machine without a builder starts, where it can be had for
// the platform.
func (f *filler) builder(ctx context.Context) ([]ocispec.Descriptor, error) {
	if runtime.GOOS+"/"+runtime.GOARCH != f.platform {
		f.d.notice("the bundle has no builder: this machine has none for " + f.platform)
		return nil, nil
	}
	m, err := f.a.manager(nil, f.d.notice)
	if err != nil {
		return nil, err
	}
	program, err := m.Locate(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		f.d.notice("the bundle has no builder: " + oneLine(err))
		return nil, nil
	}
	d, err := f.putFile(ctx, program, bundle.BuilderType, "buildkitd")
	return []ocispec.Descriptor{d}, err
}

// putFile keeps a file whose digest nobody knows yet.
func (f *filler) putFile(ctx context.Context, file, mediaType, title string) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: mediaType, Annotations: map[string]string{ocispec.AnnotationTitle: title}}
	r, err := os.Open(file)
	if err != nil {
		return d, err
	}
	defer r.Close()
	if d.Digest, err = digest.FromReader(r); err != nil {
		return d, err
	}
	if d.Size, err = f.store.PutFile(ctx, d.Digest, file); err != nil {
		return d, notKept(f.store.Dir(), err)
	}
	return d, nil
}

// model is fetched into the store of models, from which it goes into the bundle.
func (f *filler) model(ctx context.Context, ref model.Ref, elsewhere map[digest.Digest]string) ([]ocispec.Descriptor, error) {
	fetch, err := f.a.fetcher(modelProgress{f.d})
	if err != nil {
		return nil, err
	}
	l, err := fetch.Fetch(ctx, ref)
	if err != nil {
		return nil, err
	}
	files, err := fetch.Carry(ctx, l)
	if err != nil {
		return nil, err
	}
	var out []ocispec.Descriptor
	for _, c := range files {
		d := ocispec.Descriptor{
			MediaType: bundle.ModelType, Digest: digest.NewDigestFromEncoded(digest.SHA256, c.SHA256), Size: c.Size,
			Annotations: map[string]string{
				ocispec.AnnotationTitle: path.Base(c.File), bundle.AnnotationModel: c.Ref,
				bundle.AnnotationModelFile: c.File, bundle.AnnotationModelRevision: c.Revision,
			},
		}
		elsewhere[d.Digest] = c.Path
		out = append(out, d)
	}
	return out, nil
}

// LoadBundle keeps what a bundle has on this machine: for offline builds, and its model
// in the store of models.
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
		return nil, fault.New(fault.Usage, "the bundle "+file+" cannot be read", err, "name a file that llorch-bk bundle create wrote")
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
		if err := a.acceptModels(ctx, store, art); err != nil {
			return nil, err
		}
		c, err := store.Contents(art)
		bases := c.Bytes - sizeOf(art.Blobs)
		if errors.Is(err, bundle.ErrNotThere) {
			bases = 0 // It has packages alone.
		} else if err != nil {
			return nil, badBundle(file, err)
		}
		out = append(out, keptOf(art, bases))
	}
	return out, nil
}

// badBundle says what is wrong: with the file, or with this machine.
func badBundle(file string, err error) error {
	var damaged *bundle.DamagedError
	var disk *fs.PathError
	var known *fault.Fault
	switch {
	case errors.As(err, &damaged), errors.Is(err, bundle.ErrNotThere):
		return fault.New(fault.Usage, "the bundle "+file+" is damaged", err, "copy it again, or make it again: llorch-bk bundle create")
	case errors.Is(err, bundle.ErrNoBundle):
		return fault.New(fault.Usage, file+" is no bundle", err, "name a file that llorch-bk bundle create wrote")
	case errors.As(err, &known):
		return fault.New(fault.Usage, "the bundle "+file+" cannot be used", err, known.Do)
	case errors.As(err, &disk):
		return fault.New(fault.Machine, "the bundle "+file+" cannot be loaded", err, "check that there is room in LLORCH_CACHE_DIR, and who may write there")
	}
	return fault.New(fault.Usage, "the bundle "+file+" is damaged", err, "copy it again, or make it again: llorch-bk bundle create")
}

// acceptModels moves a bundle's model into the store of models.
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
			return fault.New(fault.Model, "the bundle's model cannot be kept: "+b.Annotations[ocispec.AnnotationTitle], err, "check LLORCH_MODEL_DIR, and that there is room")
		}
	}
	for _, b := range blobs {
		if err := store.Remove(b.Digest); err != nil {
			return notKept(store.Dir(), err)
		}
	}
	return nil
}

// bundledBuilder is BuildKit's daemon out of a bundle that was loaded here; nil where
// there is none for this machine.
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
