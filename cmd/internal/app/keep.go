package app

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/bundle"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Kept is what is kept for a lock on one platform.
type Kept struct {
	// Where is the folder, file or registry.
	Where    string `json:"where,omitempty"`
	Source   string `json:"source"`
	Commit   string `json:"commit"`
	Variant  string `json:"variant"`
	Platform string `json:"platform"`
	// Lock is the lock's digest.
	Lock string `json:"lock"`
	// Contents are what there is, by kind.
	Contents []Content `json:"contents"`
}

// Content is what there is of one kind.
type Content struct {
	// Kind is base, package, npm, source, builder or model.
	Kind  string `json:"kind"`
	Count int    `json:"count"`
	Bytes int64  `json:"bytes"`
	// Names are those of few things of a kind.
	Names []string `json:"names,omitempty"`
}

// kinds are how blobs are called for a person.
var kinds = map[string]string{
	bundle.PackageType: "package", bundle.NPMType: "npm", bundle.SourceType: "source", bundle.BuilderType: "builder", bundle.ModelType: "model",
}

// fewNames is how many names of a kind are listed.
const fewNames = 4

// keptOf describes an artifact; bases are how large its base images are.
func keptOf(a bundle.Artifact, bases int64) Kept {
	k := Kept{Source: a.Lock.Source.Repository, Commit: a.Lock.Source.Commit, Variant: a.Lock.Request.Variant, Platform: a.Platform, Lock: a.LockDigest.String()}
	if bases > 0 {
		c := Content{Kind: "base", Bytes: bases}
		for _, b := range a.Bases() {
			c.Count, c.Names = c.Count+1, append(c.Names, b.Ref)
		}
		k.Contents = append(k.Contents, c)
	}
	for _, kind := range []string{bundle.PackageType, bundle.NPMType, bundle.SourceType, bundle.BuilderType, bundle.ModelType} {
		blobs := a.Of(kind)
		if len(blobs) == 0 {
			continue
		}
		c := Content{Kind: kinds[kind], Count: len(blobs)}
		for _, b := range blobs {
			c.Bytes += b.Size
			if len(blobs) <= fewNames {
				c.Names = append(c.Names, cmp.Or(b.Annotations[bundle.AnnotationModel], b.Annotations[ocispec.AnnotationTitle]))
			}
		}
		k.Contents = append(k.Contents, c)
	}
	return k
}

// keep puts the packages of a lock where LockOptions say.
func (a *App) keep(ctx context.Context, d *Display, docker *client.Client, opt LockOptions, lock images.Lock) (*Kept, error) {
	at := opt.Keep
	var store *bundle.Store
	var reg bundle.Registry
	var err error
	inRegistry := strings.HasPrefix(at, bundle.Scheme)
	if inRegistry {
		caCert, cerr := a.certificates(opt.CACert)
		if cerr != nil {
			return nil, cerr
		}
		if reg, err = bundle.AtRegistry(at, trusting(caCert)); err != nil {
			return nil, fault.New(fault.Usage, "--keep "+at+" names no place in a registry", err, "write it as oci://registry.example.com/packages:llama")
		}
		store, err = a.bundles()
	} else if store, err = bundle.Open(at); err != nil {
		err = fault.New(fault.Usage, "--keep "+at+" cannot be used", err, "name a new folder, or one that an earlier --keep wrote")
	}
	if err != nil {
		return nil, err
	}
	build := opt.BuildOptions
	build.lock, build.Request.Tags = &lock, nil
	f, done, err := a.filler(ctx, d, docker, build, store)
	if err != nil {
		return nil, err
	}
	defer done()
	blobs, err := f.packages(ctx)
	if err != nil {
		return nil, err
	}
	art, err := store.Keep(ctx, lock, f.platform, blobs, nil)
	if err != nil {
		return nil, notKept(at, err)
	}
	if inRegistry {
		step := d.begin("push the packages to "+reg.String(), "pushing", sizeOf(blobs))
		err := reg.Push(ctx, store, art, step.Set)
		step.End(err)
		if err != nil {
			return nil, fault.New(fault.Machine, "the packages cannot be pushed to "+at, err, "check the name, and the login: docker login")
		}
	}
	k := keptOf(art, 0)
	k.Where = at
	return &k, nil
}

func notKept(where string, err error) error {
	var f *fault.Fault
	if errors.As(err, &f) {
		return err
	}
	return fault.New(fault.Machine, "nothing can be kept in "+where, err, "check that there is room, and who may write there")
}

func sizeOf(blobs []ocispec.Descriptor) (sum int64) {
	for _, b := range blobs {
		sum += b.Size
	}
	return sum
}

// filler puts what a lock names into a store.
type filler struct {
	a        *App
	d        *Display
	w        wanted
	p        begun
	platform string
	store    *bundle.Store
}

// filler opens a builder for a lock, which fetches packages as a build would.
func (a *App) filler(ctx context.Context, d *Display, docker *client.Client, opt BuildOptions, store *bundle.Store) (*filler, func(), error) {
	w, err := a.resolve(ctx, d, docker != nil, opt)
	if err != nil {
		return nil, nil, err
	}
	p, err := a.begin(ctx, d, docker, []wanted{w})
	if err != nil {
		return nil, nil, err
	}
	return &filler{a: a, d: d, w: w, p: p, platform: w.Request.Platform, store: store}, func() { p.b.Close() }, nil
}

// packages are the distribution's, and npm's.
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

// set is one set of the distribution's packages.
func (f *filler) set(ctx context.Context, set llb.Fetch) ([]ocispec.Descriptor, error) {
	var missing []images.Package
	for _, p := range set.Packages {
		if !f.store.Has(digest.NewDigestFromEncoded(digest.SHA256, p.SHA256)) {
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

// npm are the packages of the web UI. What is kept of the same lock file, for whatever
// lock of ours, is not fetched again.
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
			return fault.New(fault.Build, "the web UI's packages are not what their lock file pins", err, "")
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

// inFolder does something with a folder that goes afterwards.
func inFolder(do func(dir string) error) error {
	dir, err := os.MkdirTemp("", "llorch-keep-")
	if err != nil {
		return fault.New(fault.Machine, "there is no room to fetch into", err, "set TMPDIR to a folder with room")
	}
	defer os.RemoveAll(dir)
	return do(dir)
}
