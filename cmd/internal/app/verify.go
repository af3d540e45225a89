package app

import (
	"context"
	"os"
	"path/filepath"

	"github.com/docker/docker/client"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/audit"
	"github.com/llorch/llorch-bk/llb/buildkit"
	"github.com/llorch/llorch-bk/llb/compare"
	"github.com/llorch/llorch-bk/llb/signature"
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
	// Trust says whose signature the image must have; its zero value asks for none.
	Trust TrustOptions
	// Attest signs, as Sign says, that the image was built again and is the same, and
	// puts that beside it.
	Attest bool
	// Tool is this program with its version, for that statement.
	Tool string
	// Keep is the folder for both images where they differ.
	Keep string
}

// Verification is what a verification found.
type Verification struct {
	// Checks are what the image has and what is stated about it; each of them holds.
	Checks []audit.Check `json:"checks"`
	// Unchecked is how many signed statements are beside the image while nobody said whose
	// count.
	Unchecked int `json:"unchecked_signatures,omitempty"`
	// Attested is the statement that was put beside the image.
	Attested *Signed `json:"attested,omitempty"`
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
	who, err := a.who(opt)
	if err != nil {
		return Verification{}, err
	}
	docker, closeIt := a.maybeEngine(ctx)
	defer closeIt()
	d, err := OpenDisplay(a.Err, a.Progress)
	if err != nil {
		return Verification{}, err
	}
	defer d.Close()
	v, err := a.verify(ctx, d, docker, opt, who)
	return v, interrupted(ctx, err)
}

// who is whose signatures count, and who signs; either may be nil.
type who struct {
	trust  *signature.Verifier
	signer *signature.Signer
}

// who reads the keys of a verification, and refuses what cannot work before anything is
// fetched or built.
func (a *App) who(opt VerifyOptions) (w who, err error) {
	_, inRegistry := opt.registry()
	switch trusting := opt.Trust != (TrustOptions{}); {
	case opt.Attest && opt.Sign.Key == "":
		return w, fault.New(fault.Usage, "--attest needs --sign", nil, "name a private key with --sign FILE, or --sign "+Keyless)
	case opt.Attest && opt.NoRebuild:
		return w, fault.New(fault.Usage, "--attest and --no-rebuild exclude each other", nil, "what was not rebuilt cannot be said to be the same")
	case (opt.Attest || trusting) && !inRegistry:
		return w, fault.New(fault.Usage, "only an image in a registry has signatures", nil, "name one, as registry.example.com/llama:edge")
	}
	if w.trust, err = opt.Trust.verifier(); err != nil {
		return w, err
	}
	if opt.Attest {
		w.signer, err = a.signer(opt.Sign)
	}
	return w, err
}

func (a *App) verify(ctx context.Context, d *Display, docker *client.Client, opt VerifyOptions, who who) (Verification, error) {
	var out Verification
	dir, err := os.MkdirTemp("", "llorch-verify-")
	if err != nil {
		return out, fault.New(fault.Machine, "there is no room to build in", err, "")
	}
	defer os.RemoveAll(dir)
	asking, err := a.asking(ctx, opt.BuildOptions)
	if err != nil {
		return out, err
	}
	original := opt.Image
	if original == "" {
		original = filepath.Join(dir, "image.tar")
		if err := a.rebuild(ctx, d, docker, opt.BuildOptions, original); err != nil {
			return out, err
		}
	}
	image, err := openImage(original, filepath.Join(dir, "image"), opt, asking)
	if err != nil {
		return out, err
	}
	out.Image = image.Descriptor.Digest.String()
	found, err := a.examine(ctx, d, image, original, opt, who, asking, &out)
	if err != nil || opt.NoRebuild {
		return out, err
	}
	if opt.Locked == "" {
		if opt.Locked, err = keepLock(dir, found, opt.Image); err != nil {
			return out, err
		}
	}
	again := filepath.Join(dir, "rebuilt.tar")
	if err := a.rebuild(ctx, d, docker, opt.BuildOptions, again); err != nil {
		return out, err
	}
	rebuilt, err := openArchive(again, filepath.Join(dir, "rebuilt"), platformOf(opt.Request.Platform))
	if err != nil {
		return out, err
	}
	out.Rebuilt = rebuilt.Descriptor.Digest.String()
	same := out.Image == out.Rebuilt
	out.Same = &same
	switch {
	case same && who.signer != nil:
		attested, err := attestRebuilt(ctx, image, who.signer, opt, asking)
		out.Attested = &attested
		return out, err
	case same:
		return out, nil
	}
	if out.Differences, err = compare.Images(image, rebuilt); err != nil {
		return out, fault.New(fault.Build, "the images differ, and cannot be compared", err, "")
	}
	out.Kept, err = keepBoth(opt.Keep, image, rebuilt)
	return out, err
}

// examine checks what an image has, what is stated about it and who signed it.
func (a *App) examine(ctx context.Context, d *Display, image *audit.Image, name string, opt VerifyOptions, who who, asking []remote.Option, out *Verification) (found *audit.Found, err error) {
	err = d.Do("check "+name, func(*Step) error {
		if found, err = checks(ctx, image, name, opt.Locked); err != nil {
			return err
		}
		out.Checks = found.Checks
		ref, inRegistry := opt.registry()
		if !inRegistry {
			return nil
		}
		signed, unchecked, err := signatures(ctx, ref, image, who.trust, asking)
		out.Checks, out.Unchecked = append(out.Checks, signed...), unchecked
		return err
	})
	return found, err
}

// keepLock writes the lock in an image into dir.
func keepLock(dir string, found *audit.Found, image string) (string, error) {
	if found.Lock == nil {
		return "", fault.New(fault.Usage, image+" does not say what it was made of", nil, "it was not built with --locked: name its lock with --locked FILE, or only check it with --no-rebuild")
	}
	file := filepath.Join(dir, images.LockFile)
	return file, os.WriteFile(file, found.Lock, 0o600)
}

// checks checks all of an image and what its index states about it. name is the image's,
// and locked the file of its lock, if it has none in it: what is stated is about the lock
// that it was built from, and how another one differs is for the rebuild to show.
func checks(ctx context.Context, image *audit.Image, name, locked string) (*audit.Found, error) {
	found, err := audit.Content(ctx, image)
	if err != nil {
		return nil, untrue(name, err)
	}
	var lock *images.Lock
	switch {
	case found.Lock != nil:
		l, err := images.DecodeLock(found.Lock)
		if err != nil {
			return nil, err
		}
		lock = &l
	case locked != "":
		l, err := readLock(locked)
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
	return fault.New(fault.Build, name+" failed verification", err, "do not use it: it was changed after it was built, or is damaged")
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
