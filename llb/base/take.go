package base

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/opencontainers/go-digest"
)

// ImageSaver has the methods of an engine that Take needs.
type ImageSaver interface {
	ImageInspect(ctx context.Context, ref string, opts ...client.ImageInspectOption) (image.InspectResponse, error)
	ImageSave(ctx context.Context, refs []string, opts ...client.ImageSaveOption) (io.ReadCloser, error)
}

// Take returns the image of a suite that was bootstrapped on this machine: from the folder,
// or from an engine that has it if the folder is another or was emptied. It does not
// bootstrap, and returns false if neither has the image.
func Take(ctx context.Context, dir, suite, arch string, engine ImageSaver) (Base, bool, error) {
	b, ok, err := Find(dir, suite, arch)
	if err != nil || ok {
		return b, ok, err
	}
	o := Options{Dir: dir, Suite: suite, Arch: arch}.withDefaults()
	ref := RefFor(o.Suite)
	got, err := engine.ImageInspect(ctx, ref)
	switch {
	case errdefs.IsNotFound(err):
		return Base{}, false, nil
	case err != nil:
		return Base{}, false, err
	case got.Config == nil || got.Config.Labels[LabelBootstrap] != o.Suite || got.Architecture != o.Arch:
		return Base{}, false, nil // Another image under our name.
	}
	b, err = o.locked(ctx, func(scratch string) (string, error) { return o.take(ctx, scratch, ref, engine) })
	if err != nil && ctx.Err() == nil {
		return Base{}, false, fault.New(fault.Machine, "cannot export "+ref+" from the engine for the builder", err, "free disk space in "+o.Dir+", or bootstrap it again: llorch-bk setup")
	}
	return b, err == nil, err
}

// take makes a layout from an engine's image. The layer's digest, which the engine's config
// contains, proves that it is the same image.
func (o Options) take(ctx context.Context, scratch, ref string, engine ImageSaver) (string, error) {
	saved, err := engine.ImageSave(ctx, []string{ref})
	if err != nil {
		return "", err
	}
	defer saved.Close()
	archive := filepath.Join(scratch, "saved.tar")
	f, err := os.Create(archive)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, saved)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	img, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		return "", err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return "", err
	}
	layers, err := img.Layers()
	if err != nil {
		return "", err
	}
	if len(layers) != 1 || len(config.RootFS.DiffIDs) != 1 {
		return "", fmt.Errorf("a bootstrapped image must have one layer, got %d", len(layers))
	}
	layout := filepath.Join(scratch, "layout")
	if err := os.Mkdir(layout, 0o755); err != nil {
		return "", err
	}
	w, err := newLayoutWriter(layout, Base{Ref: ref, Suite: o.Suite, Arch: o.Arch})
	if err != nil {
		return "", err
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		return "", err
	}
	defer content.Close()
	err = w.layer(ctx, func(dst io.Writer) error {
		_, err := io.Copy(dst, content)
		return err
	})
	if err != nil {
		return "", err
	}
	if want := digest.Digest(config.RootFS.DiffIDs[0].String()); w.base.DiffIDs[0] != want {
		return "", fmt.Errorf("layer digest mismatch: got %s, the config says %s", w.base.DiffIDs[0], want)
	}
	return layout, w.finish(ctx, config.Created.Time)
}
