package base

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/llorch/llorch-bk/images/fault"
)

// ImageLoader has the methods of the Docker client that loading needs.
type ImageLoader interface {
	ImageInspect(ctx context.Context, ref string, opts ...client.ImageInspectOption) (image.InspectResponse, error)
	ImageLoad(ctx context.Context, input io.Reader, opts ...client.ImageLoadOption) (image.LoadResponse, error)
}

// LoadInto loads the image into an engine under b.Ref. It does nothing if the engine
// already has exactly this image under that name.
func (b Base) LoadInto(ctx context.Context, engine ImageLoader) error {
	what := "cannot load " + b.Ref + " into the engine"
	switch loaded, err := b.loaded(ctx, engine); {
	case err != nil:
		return fault.New(fault.Machine, what, err, "check that the engine answers: docker version")
	case loaded:
		return nil
	}
	archive, feed := io.Pipe()
	go func() { feed.CloseWithError(b.WriteArchive(feed)) }()
	err := load(ctx, engine, archive)
	// If the engine stopped reading early, unblock the writer.
	archive.CloseWithError(io.ErrClosedPipe)
	if err != nil {
		return fault.New(fault.Machine, what, err, "free disk space where the engine stores its images, or read the engine's log")
	}
	loaded, err := b.loaded(ctx, engine)
	if err == nil && !loaded {
		err = errors.New("after the load, the engine has another image under that name")
	}
	if err != nil {
		return fault.New(fault.Machine, what, err, "read the engine's log")
	}
	return nil
}

func load(ctx context.Context, engine ImageLoader, archive io.Reader) error {
	resp, err := engine.ImageLoad(ctx, archive, client.ImageLoadWithQuiet(true))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if !resp.JSON {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	// A failed load answers 200 and reports the error in the stream.
	for messages := json.NewDecoder(resp.Body); ; {
		var m struct {
			Error string `json:"error"`
		}
		switch err := messages.Decode(&m); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the engine's answer: %w", err)
		case m.Error != "":
			return errors.New(m.Error)
		}
	}
}

// loaded compares ids. An engine with graph drivers identifies an image by its config, one
// with containerd's store by its manifest.
func (b Base) loaded(ctx context.Context, engine ImageLoader) (bool, error) {
	got, err := engine.ImageInspect(ctx, b.Ref)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	id := digest.Digest(got.ID)
	return id == b.ConfigDigest || id == b.Manifest.Digest, nil
}

// WriteArchive writes the layout as a tar in the format of docker save, with b.Ref as the
// image's name.
func (b Base) WriteArchive(dst io.Writer) error {
	out := tar.NewWriter(dst)
	files, err := b.index()
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := out.WriteHeader(header(f.name, int64(len(f.data)))); err != nil {
			return err
		}
		if _, err := out.Write(f.data); err != nil {
			return err
		}
	}
	// Some readers require entries for the folders.
	for _, dir := range []string{ocispec.ImageBlobsDir + "/", ocispec.ImageBlobsDir + "/sha256/"} {
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: Epoch}); err != nil {
			return err
		}
	}
	blobs := []digest.Digest{b.ConfigDigest, b.Manifest.Digest}
	for _, l := range b.Layers {
		blobs = append(blobs, l.Digest)
	}
	for _, d := range blobs {
		if err := addBlob(out, b.Layout, d); err != nil {
			return err
		}
	}
	return out.Close()
}

func addBlob(out *tar.Writer, layout string, d digest.Digest) error {
	f, err := os.Open(filepath.Join(layout, blobPath(d)))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := out.WriteHeader(header(blobPath(d), info.Size())); err != nil {
		return err
	}
	_, err = io.Copy(out, f)
	return err
}

func header(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: Epoch}
}
