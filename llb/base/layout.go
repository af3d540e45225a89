package base

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// LabelBootstrap is the label of an image that llorch-bk bootstrapped. Its value is the suite.
const LabelBootstrap = "dev.llorch.bootstrap"

// imagePath is the PATH of Debian's official images.
const imagePath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// dockerManifest is the file in which docker load finds an archive's images.
const dockerManifest = "manifest.json"

// layoutWriter builds one layout in its own folder.
type layoutWriter struct {
	dir   string
	store content.Store
	base  Base
}

func newLayoutWriter(dir string, b Base) (*layoutWriter, error) {
	store, err := local.NewStore(dir)
	if err != nil {
		return nil, fmt.Errorf("make the image layout: %w", err)
	}
	return &layoutWriter{dir: dir, store: store, base: b}, nil
}

// layer adds the root file system that fill writes, and compresses it meanwhile. The bytes
// do not depend on the time or the machine.
func (w *layoutWriter) layer(ctx context.Context, fill func(io.Writer) error) error {
	blob, err := content.OpenWriter(ctx, w.store, content.WithRef("layer"))
	if err != nil {
		return fmt.Errorf("write the layer: %w", err)
	}
	defer blob.Close()
	diff := digest.Canonical.Digester()
	packed := gzip.NewWriter(blob)
	if err := fill(io.MultiWriter(packed, diff.Hash())); err != nil {
		return err
	}
	if err := packed.Close(); err != nil {
		return fmt.Errorf("write the layer: %w", err)
	}
	status, err := blob.Status()
	if err != nil {
		return fmt.Errorf("write the layer: %w", err)
	}
	if err := blob.Commit(ctx, status.Offset, ""); err != nil {
		return fmt.Errorf("write the layer: %w", err)
	}
	w.base.Layers = []ocispec.Descriptor{{
		MediaType: ocispec.MediaTypeImageLayerGzip, Digest: blob.Digest(), Size: status.Offset,
	}}
	w.base.DiffIDs = []digest.Digest{diff.Digest()}
	return nil
}

// finish adds config, manifest and index files.
func (w *layoutWriter) finish(ctx context.Context, epoch time.Time) error {
	config, err := w.put(ctx, ocispec.MediaTypeImageConfig, w.config(epoch))
	if err != nil {
		return err
	}
	w.base.ConfigDigest = config.Digest
	w.base.Manifest, err = w.put(ctx, ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    config,
		Layers:    w.base.Layers,
	})
	if err != nil {
		return err
	}
	w.base.Manifest.Platform = &ocispec.Platform{OS: "linux", Architecture: w.base.Arch}
	files, err := w.base.index()
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := writeSynced(filepath.Join(w.dir, f.name), f.data); err != nil {
			return fmt.Errorf("write the image layout: %w", err)
		}
	}
	// The store's scratch folder is not part of an image layout.
	return os.RemoveAll(filepath.Join(w.dir, "ingest"))
}

func (w *layoutWriter) config(epoch time.Time) ocispec.Image {
	b := w.base
	return ocispec.Image{
		Created:  &epoch,
		Platform: ocispec.Platform{OS: "linux", Architecture: b.Arch},
		Config: ocispec.ImageConfig{
			Env: []string{imagePath},
			Cmd: []string{"bash"},
			Labels: map[string]string{
				LabelBootstrap:            b.Suite,
				ocispec.AnnotationTitle:   "Debian " + b.Suite + " (slim), bootstrapped by llorch-bk",
				ocispec.AnnotationVersion: b.Suite,
			},
		},
		RootFS:  ocispec.RootFS{Type: "layers", DiffIDs: b.DiffIDs},
		History: []ocispec.History{{Created: &epoch, CreatedBy: "mmdebstrap --variant=minbase " + b.Suite, Comment: "llorch-bk"}},
	}
}

func (w *layoutWriter) put(ctx context.Context, mediaType string, v any) (ocispec.Descriptor, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	if err := content.WriteBlob(ctx, w.store, desc.Digest.String(), bytes.NewReader(raw), desc); err != nil {
		return desc, fmt.Errorf("write the image layout: %w", err)
	}
	return desc, nil
}

// file is one of the small files beside the blobs.
type file struct {
	name string
	data []byte
}

// index returns the files that name the image, for both formats of the folder: an OCI
// layout for BuildKit and engines on containerd, a docker archive for engines on graph
// drivers.
func (b Base) index() ([]file, error) {
	named := b.Manifest
	named.Annotations = map[string]string{
		// containerd's importer reads the full name from the first annotation, other tools
		// the tag from the second.
		"io.containerd.image.name": b.Ref,
		ocispec.AnnotationRefName:  b.Suite + "-slim",
	}
	type archived struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	image := archived{Config: blobPath(b.ConfigDigest), RepoTags: []string{b.Ref}}
	for _, l := range b.Layers {
		image.Layers = append(image.Layers, blobPath(l.Digest))
	}
	var files []file
	for _, f := range []struct {
		name string
		v    any
	}{
		{ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}},
		{ocispec.ImageIndexFile, ocispec.Index{
			Versioned: specs.Versioned{SchemaVersion: 2},
			MediaType: ocispec.MediaTypeImageIndex,
			Manifests: []ocispec.Descriptor{named},
		}},
		{dockerManifest, []archived{image}},
	} {
		raw, err := json.Marshal(f.v)
		if err != nil {
			return nil, err
		}
		files = append(files, file{f.name, raw})
	}
	return files, nil
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}
