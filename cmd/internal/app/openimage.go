package app

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/audit"
	"github.com/llorch/llorch-bk/llb/registry"
)

// openImage opens an archive file, unpacked into dir, or an image in a registry. It does not
// verify the content yet.
func openImage(image, dir string, opt VerifyOptions, asking []remote.Option) (*audit.Image, error) {
	platform := platformOf(opt.Request.Platform)
	if isFile(image) {
		return openArchive(image, dir, platform)
	}
	ref, err := imageRef(image, opt.Output.Insecure)
	if err != nil {
		return nil, err
	}
	desc, err := remote.Get(ref, asking...)
	if err != nil {
		return nil, fault.New(fault.Machine, "cannot read "+image+" from its registry", err, registryAdvice(err))
	}
	img, err := audit.Remote(desc, platform)
	if errors.Is(err, audit.ErrPlatform) {
		return nil, fault.New(fault.Usage, "cannot verify "+image, err, "name one of its platforms, as in: --platform linux/arm64")
	}
	if err != nil {
		return nil, untrue(image, err)
	}
	return img, nil
}

func platformOf(name string) v1.Platform {
	system, arch, _ := strings.Cut(name, "/")
	return v1.Platform{OS: system, Architecture: arch}
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// registry returns the image's reference, if the image is in a registry.
func (o VerifyOptions) registry() (name.Reference, bool) {
	if o.Image == "" || isFile(o.Image) {
		return nil, false
	}
	ref, err := imageRef(o.Image, o.Output.Insecure)
	return ref, err == nil
}

// imageRef parses an image's name. insecure lists registries that are used without TLS.
func imageRef(image string, insecure []string) (name.Reference, error) {
	var options []name.Option
	for _, host := range insecure {
		if strings.HasPrefix(image, host+"/") {
			options = append(options, name.Insecure)
		}
	}
	ref, err := name.ParseReference(image, options...)
	if err != nil {
		return nil, fault.New(fault.Usage, image+" is neither a file nor an image name", err, "name an image in a registry, or an archive that build --output wrote")
	}
	return ref, nil
}

// asking returns the options of registry requests: the login of docker login, and the CA
// certificates of --ca-cert.
func (a *App) asking(ctx context.Context, opt BuildOptions) ([]remote.Option, error) {
	caCert, err := a.certificates(opt.CACert)
	if err != nil {
		return nil, err
	}
	return append(registry.Options(trusting(caCert)), remote.WithContext(ctx)), nil
}

// openArchive opens the image for a platform in an archive of an OCI layout.
func openArchive(file, dir string, platform v1.Platform) (*audit.Image, error) {
	none := func(err error) error {
		return fault.New(fault.Usage, file+" is not an OCI layout archive with an image for "+platform.String(), err, "")
	}
	if err := unpack(file, dir); err != nil {
		return nil, none(err)
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, none(err)
	}
	img, err := audit.Layout(index, platform)
	var damaged *audit.Untrue
	if errors.As(err, &damaged) {
		return nil, untrue(file, err)
	}
	if err != nil {
		return nil, none(err)
	}
	return img, nil
}

// unpack writes the files of an archive to dir.
func unpack(file, dir string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for t := tar.NewReader(f); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(h.Name) {
			continue
		}
		path := filepath.Join(dir, h.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		blob, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(blob, t)
		if err = errors.Join(err, blob.Close()); err != nil {
			return err
		}
	}
}
