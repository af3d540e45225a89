package app

import (
	"context"
	"errors"
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
	"github.com/llorch/llorch-bk/llb/builder"
	"github.com/llorch/llorch-bk/llb/buildkit"
	"github.com/llorch/llorch-bk/llb/compare"
	"github.com/llorch/llorch-bk/llb/signature"
	"github.com/moby/buildkit/identity"
)

// VerifyOptions is a verification as the user asked for it.
type VerifyOptions struct {
	// BuildOptions name the builder, and the lock if the image's own is not to be used.
	BuildOptions
	// Image is an image in a registry, or an archive that build --output wrote; empty to
	// build the lock twice.
	Image string
	// NoRebuild checks the image and its attestations only.
	NoRebuild bool
	// Trust names the required signer; the zero value requires none.
	Trust TrustOptions
	// Attest signs a statement, as Sign says, that the rebuilt image is identical, and pushes
	// it beside the image.
	Attest bool
	// Tool is this program's name and version, for that statement.
	Tool string
	// Keep is the folder for both images if they differ.
	Keep string
}

// Verification is the result of Verify.
type Verification struct {
	// Checks are the properties and statements that were verified; all of them hold.
	Checks []audit.Check `json:"checks"`
	// Unchecked is the number of signed statements that were not verified, since no signer
	// was named.
	Unchecked int `json:"unchecked_signatures,omitempty"`
	// Attested is the pushed statement.
	Attested *Signed `json:"attested,omitempty"`
	// Same is true if both images are identical, byte for byte; nil if nothing was rebuilt.
	Same *bool `json:"same,omitempty"`
	// Image and Rebuilt are the digests of the platform manifests.
	Image   string `json:"image"`
	Rebuilt string `json:"rebuilt,omitempty"`
	// Differences is empty if the images are identical.
	Differences []compare.Difference `json:"differences,omitempty"`
	// Kept are the two archives, if the images differ.
	Kept []string `json:"kept,omitempty"`
}

// Verify checks an image, rebuilds it from its lock on an empty builder, and compares. An
// image that fails a check is a fault.Build that names the layer or statement; one that
// cannot be read is a fault.Machine.
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

// who holds the trusted signer and the own signer; either may be nil.
type who struct {
	trust  *signature.Verifier
	signer *signature.Signer
}

// who reads the keys, and refuses what cannot work before anything is fetched or built.
func (a *App) who(opt VerifyOptions) (w who, err error) {
	_, inRegistry := opt.registry()
	switch trusting := opt.Trust != (TrustOptions{}); {
	case opt.Attest && opt.Sign.Key == "":
		return w, fault.New(fault.Usage, "--attest needs --sign", nil, "add --sign FILE, or --sign "+Keyless)
	case opt.Attest && opt.NoRebuild:
		return w, fault.New(fault.Usage, "--attest and --no-rebuild cannot be used together", errors.New("only a rebuild shows that the images are identical"), "remove one of them")
	case (opt.Attest || trusting) && !inRegistry:
		return w, fault.New(fault.Usage, "only an image in a registry has signatures", nil, "name one, as in: registry.example.com/llama:edge")
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
		return out, fault.New(fault.Machine, "cannot create a temporary folder", err, diskAdvice(os.TempDir(), otherTemp, err))
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
		return out, fault.New(fault.Build, "the images differ, but cannot be compared", err, "")
	}
	out.Kept, err = keepBoth(opt.Keep, image, rebuilt)
	return out, err
}

// examine checks an image's content, attestations and signatures.
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

// keepLock writes the image's own lock to dir.
func keepLock(dir string, found *audit.Found, image string) (string, error) {
	if found.Lock == nil {
		return "", fault.New(fault.Usage, image+" has no lock inside", errors.New("it was not built with --locked"), "name its lock with --locked FILE, or only check the image with --no-rebuild")
	}
	file := filepath.Join(dir, images.LockFile)
	return file, os.WriteFile(file, found.Lock, 0o600)
}

// checks verifies an image's content, and the statements in its index. Statements are about
// the lock that the image was built from: its own, or the file in locked if it has none.
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

// untrue is the fault of an image that fails a check, or that cannot be read.
func untrue(name string, err error) error {
	if audit.Broken(err) {
		return fault.New(fault.Machine, "cannot read "+name, err, registryAdvice(err))
	}
	return fault.New(fault.Build, name+" failed verification", err, "do not use the image: it is damaged, or was changed after the build")
}

// rebuild builds a lock into an archive. Unless a builder is named, it uses a new, empty one.
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
	if opt.Builder == buildkit.Auto || opt.Builder == builder.Managed {
		m, err := a.manager(docker, d.notice)
		if err != nil {
			return err
		}
		fresh := m.Fresh(identity.NewID()[:8])
		w.fresh = &fresh
		defer func() {
			if err := w.fresh.Drop(context.WithoutCancel(ctx)); err != nil {
				d.notice("the temporary builder could not be removed: " + err.Error())
			}
		}()
	}
	if _, err := a.build(ctx, d, docker, w); err != nil {
		return err
	}
	return nil
}

// keepBoth writes two images that differ to a folder, as OCI layouts.
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
			return kept, fault.New(fault.Machine, "cannot write the images to "+dir, err, diskAdvice(dir, "name another folder with --keep", err))
		}
		kept = append(kept, path)
	}
	return kept, nil
}
