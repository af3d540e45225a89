package app

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/bundle"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Kept describes what is stored for a lock on one platform.
type Kept struct {
	// Where is the folder, file or registry.
	Where    string `json:"where,omitempty"`
	Source   string `json:"source"`
	Commit   string `json:"commit"`
	Variant  string `json:"variant"`
	Platform string `json:"platform"`
	// Lock is the lock's digest.
	Lock string `json:"lock"`
	// Contents lists what is stored, by kind.
	Contents []Content `json:"contents"`
}

// Content is everything of one kind.
type Content struct {
	// Kind is base, package, npm, source, builder or model.
	Kind  string `json:"kind"`
	Count int    `json:"count"`
	Bytes int64  `json:"bytes"`
	// Names are the names, if there are only a few.
	Names []string `json:"names,omitempty"`
}

// kinds are the kinds' names for the user, by media type.
var kinds = map[string]string{
	bundle.PackageType: "package", bundle.NPMType: "npm", bundle.SourceType: "source", bundle.BuilderType: "builder", bundle.ModelType: "model",
}

// fewNames is the largest number of names that is listed.
const fewNames = 4

// keptOf describes an artifact; bases is the size of its base images in bytes.
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

// keep stores the packages of a lock in opt.Keep.
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
			return nil, fault.New(fault.Usage, "--keep must name a folder or oci://REGISTRY/NAME[:TAG], got "+at, err, "write it as oci://registry.example.com/packages:llama")
		}
		store, err = a.bundles()
	} else if store, err = bundle.Open(at); err != nil {
		err = fault.New(fault.Usage, "cannot use the folder --keep "+at, err, "name a new folder, or one that lock --keep wrote")
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
			return nil, fault.New(fault.Machine, "cannot push the packages to "+at, err, registryAdvice(err))
		}
	}
	k := keptOf(art, 0)
	k.Where = at
	return &k, nil
}

// notKept is the fault of a store that cannot be written or is damaged.
func notKept(where string, err error) error {
	var f *fault.Fault
	if errors.As(err, &f) {
		return err
	}
	var damaged *bundle.DamagedError
	if errors.As(err, &damaged) {
		return fault.New(fault.Machine, "a stored blob on this machine is damaged", err, "repeat the command; it fetches the blob again")
	}
	return fault.New(fault.Machine, "cannot store data in "+where, err, diskAdvice(where, "", err))
}

func sizeOf(blobs []ocispec.Descriptor) (sum int64) {
	for _, b := range blobs {
		sum += b.Size
	}
	return sum
}
