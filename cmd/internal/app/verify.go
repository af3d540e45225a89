package app

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/docker/client"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/buildkit"
	"github.com/llorch/llorch-bk/llb/compare"
	"github.com/moby/buildkit/identity"
	"github.com/opencontainers/go-digest"
)

// VerifyOptions are what the user asked of a verification.
type VerifyOptions struct {
	// BuildOptions say the builder, and the lock where the image is not to say it.
	BuildOptions
	// Image is an image in a registry, or the file of an archive that build --output
	// wrote; empty to build the lock twice.
	Image string
	// Keep is the folder for both images where they differ.
	Keep string
}

// Verification is what a verification found.
type Verification struct {
	// Same is true where both are the same, byte for byte.
	Same bool `json:"same"`
	// Image and Rebuilt are the digests of the platform's manifests.
	Image   string `json:"image"`
	Rebuilt string `json:"rebuilt"`
	// Differences are empty where they are the same.
	Differences []compare.Difference `json:"differences,omitempty"`
	// Kept are the two archives, where they differ.
	Kept []string `json:"kept,omitempty"`
}

// Verify builds from a lock once more, on a builder with nothing in it, and compares.
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
	if opt.Locked == "" {
		// The image says itself what it was made of.
		opt.Locked = filepath.Join(dir, images.LockFile)
		data, err := fileIn(image, llb.LockPath)
		if err != nil {
			return out, fault.New(fault.Usage, opt.Image+" does not say what it was made of", err, "it was not built with --locked; name its lock: --locked FILE")
		}
		if err := os.WriteFile(opt.Locked, data, 0o600); err != nil {
			return out, err
		}
	}
	again := filepath.Join(dir, "rebuilt.tar")
	if err := a.rebuild(ctx, d, docker, opt.BuildOptions, again); err != nil {
		return out, err
	}
	rebuilt, err := openArchive(again, filepath.Join(dir, "rebuilt"))
	if err != nil {
		return out, err
	}
	for _, of := range []struct {
		img v1.Image
		to  *string
	}{{image, &out.Image}, {rebuilt, &out.Rebuilt}} {
		dgst, err := of.img.Digest()
		if err != nil {
			return out, fault.New(fault.Build, "the image cannot be read", err, "")
		}
		*of.to = dgst.String()
	}
	if out.Same = out.Image == out.Rebuilt; out.Same {
		return out, nil
	}
	if out.Differences, err = compare.Images(image, rebuilt); err != nil {
		return out, fault.New(fault.Build, "the images differ, and cannot be compared", err, "")
	}
	out.Kept, err = keepBoth(opt.Keep, image, rebuilt)
	return out, err
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

// openImage opens an archive that is a file here, else an image in a registry.
func openImage(ctx context.Context, image, dir string, opt VerifyOptions) (v1.Image, error) {
	if info, err := os.Stat(image); err == nil && info.Mode().IsRegular() {
		return openArchive(image, dir)
	}
	var options []name.Option
	for _, host := range opt.Output.Insecure {
		if strings.HasPrefix(image, host+"/") {
			options = append(options, name.Insecure)
		}
	}
	ref, err := name.ParseReference(image, options...)
	if err != nil {
		return nil, fault.New(fault.Usage, image+" is no image and no file", err, "name an image in a registry, or an archive of build --output")
	}
	os, arch, _ := strings.Cut(opt.Request.Platform, "/")
	img, err := remote.Image(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithPlatform(v1.Platform{OS: os, Architecture: arch}))
	if err != nil {
		return nil, fault.New(fault.Machine, image+" cannot be had", err, "check the name, and the login: docker login")
	}
	return img, nil
}

// openArchive opens the one image of an archive of an OCI layout, unpacked into dir.
func openArchive(file, dir string) (v1.Image, error) {
	const what = "is no archive of an OCI layout with one image"
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for t := tar.NewReader(f); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fault.New(fault.Usage, file+" "+what, err, "")
		}
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(h.Name) {
			continue
		}
		path := filepath.Join(dir, h.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		blob, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(blob, t)
		if err = errors.Join(err, blob.Close()); err != nil {
			return nil, err
		}
		// Verify before trusting: a blob's name is its digest.
		if algorithm, hex, ok := strings.Cut(strings.TrimPrefix(filepath.ToSlash(h.Name), "blobs/"), "/"); ok && algorithm == "sha256" {
			data, err := os.Open(path)
			if err != nil {
				return nil, err
			}
			got, err := digest.FromReader(data)
			data.Close()
			if err != nil {
				return nil, err
			}
			if got.Encoded() != hex {
				return nil, fault.New(fault.Usage, file+" is damaged", fmt.Errorf("the blob %s is %s", hex, got), "build or fetch it again")
			}
		}
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fault.New(fault.Usage, file+" "+what, err, "")
	}
	img, err := onlyImage(index)
	if err != nil {
		return nil, fault.New(fault.Usage, file+" "+what, err, "")
	}
	return img, nil
}

// onlyImage is the one image of an index, beside statements about it, or of an index in it.
func onlyImage(index v1.ImageIndex) (v1.Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var found v1.Image
	for _, m := range manifest.Manifests {
		// Statements are kept as images of no platform.
		if m.Platform != nil && m.Platform.OS == "unknown" {
			continue
		}
		var img v1.Image
		if m.MediaType.IsIndex() {
			inner, err := index.ImageIndex(m.Digest)
			if err != nil {
				return nil, err
			}
			img, err = onlyImage(inner)
			if err != nil {
				return nil, err
			}
		} else if img, err = index.Image(m.Digest); err != nil {
			return nil, err
		}
		if found != nil {
			return nil, errors.New("it has several images")
		}
		found = img
	}
	if found == nil {
		return nil, errors.New("it has none")
	}
	return found, nil
}

// fileIn reads a file of an image.
func fileIn(img v1.Image, path string) ([]byte, error) {
	r := mutate.Extract(img)
	defer r.Close()
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("it has no %s", path)
		}
		if err != nil {
			return nil, err
		}
		if strings.Trim(h.Name, "/") == strings.Trim(path, "/") {
			var data bytes.Buffer
			_, err := io.Copy(&data, io.LimitReader(t, 16<<20))
			return data.Bytes(), err
		}
	}
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
