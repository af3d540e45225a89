package app

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/bundle"
	"github.com/llorch/llorch-bk/llb/source"
	"github.com/llorch/llorch-bk/runtime/model"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// bases stores the base images that the lock names for the platform.
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
		return ocispec.Descriptor{}, fault.New(fault.Usage, "invalid name of the base image "+b.Ref, err, "")
	}
	step := f.d.Begin("fetch the base "+b.Ref, 0)
	d, err := bundle.PullImage(ctx, f.store, ref.Context().Digest(b.Digest), f.platform, bundle.Options(trusting(f.w.caCert)), step.Set)
	step.End(err)
	if err != nil {
		return d, fault.New(fault.Machine, "cannot pull the base image "+b.Ref+"@"+b.Digest, err, registryAdvice(err))
	}
	return d, nil
}

// ownBase stores a base that was bootstrapped on this machine.
func (f *filler) ownBase(ctx context.Context, want digest.Digest) (ocispec.Descriptor, error) {
	local := f.p.job.Local
	if local == nil || local.Manifest != want {
		return ocispec.Descriptor{}, fault.New(fault.Machine, "the base image "+want.String()+" is not available", errors.New("it was bootstrapped on another machine"), "lock this machine's base image instead: llorch-bk lock --update base")
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

// source stores the locked commit.
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

// builder stores the build daemon, for machines without a builder. It is left out if this
// machine has none for the platform.
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

// putFile stores a file whose digest is not known yet.
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

// model fetches a model into the model store; the bundle reads it from there.
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
