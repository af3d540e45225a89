package app

import (
	"context"
	"os"
	"path/filepath"

	"github.com/docker/docker/client"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/audit"
	"github.com/llorch/llorch-bk/llb/buildkit"
	"github.com/llorch/llorch-bk/llb/compare"
	"github.com/moby/buildkit/identity"
)

// VerifyOptions are what the user asked of a verification.
type VerifyOptions struct {
	// BuildOptions say the builder, and the lock where the image is not to say it.
	BuildOptions
	// Image is an image in a registry, or the file of an archive that build --output
	// wrote; empty to build the lock twice.
	Image string
	// NoRebuild only checks what the image has and what is stated about it.
	NoRebuild bool
	// Keep is the folder for both images where they differ.
	Keep string
}

// Verification is what a verification found.
type Verification struct {
	// Checks are what the image has and what is stated about it; each of them holds.
	Checks []audit.Check `json:"checks"`
	// Same is true where both images are the same, byte for byte; nil where nothing was
	// rebuilt.
	Same *bool `json:"same,omitempty"`
	// Image and Rebuilt are the digests of the platform's manifests.
	Image   string `json:"image"`
	Rebuilt string `json:"rebuilt,omitempty"`
	// Differences are empty where they are the same.
	Differences []compare.Difference `json:"differences,omitempty"`
	// Kept are the two archives, where they differ.
	Kept []string `json:"kept,omitempty"`
}

// Verify checks that an image is what it says, builds it from its lock once more, on a
// builder with nothing in it, and compares. An image that is not what it says is a
// fault.Build that names the layer or the statement; one that cannot be read is a
// fault.Machine.
func (a *App) Verify(ctx context.Context, opt VerifyOptions) (Verification, error) {
	docker, closeIt := a.maybeEngine(ctx)
	defer closeIt()
	d, err := OpenDisplay(a.Err, a.Progress)
	if err != nil {
		return Verification{}, err
	}
	defer d.Close()
	v, err := a.verify(ctx, d, docker, opt)
	return v, interrupted(ctx, err)
}

func (a *App) verify(ctx context.Context, d *Display, docker *client.Client, opt VerifyOptions) (Verification, error) {
	var out Verification
	dir, err := os.MkdirTemp("", "llorch-verify-")
	if err != nil {
		return out, fault.New(fault.Machine, "there is no room to build in", err, "")
	}
	defer os.RemoveAll(dir)
	original := opt.Image
	if original == "" {
		original = filepath.Join(dir, "image.tar")
		if err := a.rebuild(ctx, d, docker, opt.BuildOptions, original); err != nil {
			return out, err
		}
	}
	image, err := openImage(ctx, original, filepath.Join(dir, "image"), opt)
	if err != nil {
		return out, err
	}
	out.Image = image.Descriptor.Digest.String()
	var found *audit.Found
	err = d.Do("check "+original, func(*Step) (err error) {
		found, err = checks(ctx, image, original, opt.Locked)
		return err
	})
	if err != nil {
		return out, err
	}
	if out.Checks = found.Checks; opt.NoRebuild {
		return out, nil
	}
	if opt.Locked == "" {
		if found.Lock == nil {
			return out, fault.New(fault.Usage, opt.Image+" does not say what it was made of", nil, "it was not built with --locked: name its lock with --locked FILE, or only check it with --no-rebuild")
		}
		opt.Locked = filepath.Join(dir, images.LockFile)
		if err := os.WriteFile(opt.Locked, found.Lock, 0o600); err != nil {
			return out, err
		}
	}
	again := filepath.Join(dir, "rebuilt.tar")
	if err := a.rebuild(ctx, d, docker, opt.BuildOptions, again); err != nil {
		return out, err
	}
	rebuilt, err := openImage(ctx, again, filepath.Join(dir, "rebuilt"), opt)
	if err != nil {
		return out, err
	}
	out.Rebuilt = rebuilt.Descriptor.Digest.String()
	same := out.Image == out.Rebuilt
	if out.Same = &same; same {
		return out, nil
	}
	if out.Differences, err = compare.Images(image, rebuilt); err != nil {
		return out, fault.New(fault.Build, "the images differ, and cannot be compared", err, "")
	}
	out.Kept, err = keepBoth(opt.Keep, image, rebuilt)
	return out, err
}

// checks checks all of an image and what its index states about it. name is the image's,
// and locked the file of its lock, if it is not to be the one in it.
func checks(ctx context.Context, image *audit.Image, name, locked string) (*audit.Found, error) {
	found, err := audit.Content(ctx, image)
	if err != nil {
		return nil, untrue(name, err)
	}
	var lock *images.Lock
	switch {
	case locked != "":
		l, err := readLock(locked)
		if err != nil {
			return nil, err
		}
		lock = &l
	case found.Lock != nil:
		l, err := images.DecodeLock(found.Lock)
		if err != nil {
			return nil, err
		}
		lock = &l
	}
	if err := found.Statements(ctx, image, lock); err != nil {
		return nil, untrue(name, err)
	}
	return found, nil
}

// untrue is the fault of an image that is not what it says, or that cannot be read.
func untrue(name string, err error) error {
	if audit.Broken(err) {
		return fault.New(fault.Machine, name+" cannot be had", err, "check the name, the network and the login: docker login")
	}
	return fault.New(fault.Build, name+" is not what it says", err, "do not use it: it was changed after it was built, or is damaged")
}

// rebuild builds a lock into an archive, on a builder of its own with nothing in it
// where no other is named.
func (a *App) rebuild(ctx context.Context, d *Display, docker *client.Client, opt BuildOptions, file string) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	opt.Output, opt.NoCache = buildkit.Output{Archive: out}, true
	w, err := a.resolve(ctx, d, docker != nil, opt)
	if err != nil {
		return err
	}
	if opt.Builder == buildkit.Auto || opt.Builder == buildkit.Managed {
		m, err := a.manager(docker, d.notice)
		if err != nil {
			return err
		}
		fresh := m.Fresh(identity.NewID()[:8])
		w.fresh = &fresh
		defer func() {
			if err := w.fresh.Drop(context.WithoutCancel(ctx)); err != nil {
				d.notice("the builder of this verification is still there: " + err.Error())
			}
		}()
	}
	if _, err := a.build(ctx, d, docker, w); err != nil {
		return err
	}
	return nil
}

// keepBoth writes two images that differ as OCI layouts into a folder.
func keepBoth(dir string, image, rebuilt v1.Image) ([]string, error) {
	var kept []string
	for _, of := range []struct {
		name string
		img  v1.Image
	}{{"image", image}, {"rebuilt", rebuilt}} {
		path := filepath.Join(dir, of.name)
		p, err := layout.Write(path, empty.Index)
		if err == nil {
			err = p.AppendImage(of.img)
		}
		if err != nil {
			return kept, fault.New(fault.Machine, "the images that differ cannot be kept in "+dir, err, "name another folder with --keep")
		}
		kept = append(kept, path)
	}
	return kept, nil
}
