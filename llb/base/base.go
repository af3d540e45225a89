package base

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// DefaultSuite is the Debian release that is bootstrapped by default.
const DefaultSuite = "trixie"

// repository is the name of bootstrapped images. The domain is reserved for local use
// (RFC 6762), so no registry can have this name.
const repository = "llorch.local/debian"

// ErrDamaged means that a layout exists but cannot be used: a blob is missing, truncated,
// or does not match its digest.
var ErrDamaged = errors.New("the bootstrapped image is damaged")

// Base is one bootstrapped image on disk.
type Base struct {
	// Ref is the image's name, such as llorch.local/debian:trixie-slim.
	Ref string
	// Suite is the Debian release, and Arch the architecture in Go's spelling.
	Suite, Arch string
	// Layout is the absolute path of the folder with the OCI layout.
	Layout string
	// Manifest describes the image manifest. An OCI layout source pins its digest.
	Manifest ocispec.Descriptor
	// ConfigDigest is the image id on an engine with graph drivers.
	ConfigDigest digest.Digest
	// Layers are the compressed layers, DiffIDs the uncompressed digests of the same
	// layers; both lowest first.
	Layers  []ocispec.Descriptor
	DiffIDs []digest.Digest
}

// RefFor is the name of the bootstrapped image of a suite.
func RefFor(suite string) string { return repository + ":" + suite + "-slim" }

// Store opens the layout for BuildKit's SolveOpt.OCIStores.
func (b Base) Store() (content.Store, error) {
	store, err := local.NewStore(b.Layout)
	if err != nil {
		return nil, fmt.Errorf("open the image layout: %w", err)
	}
	return store, nil
}

// Find returns the image that an earlier Bootstrap left in dir, and whether there is one.
// An empty arch means this machine's. It compares small blobs with their digests and layers
// with their sizes. The error is ErrDamaged if they differ.
func Find(dir, suite, arch string) (Base, bool, error) {
	o := Options{Dir: dir, Suite: suite, Arch: arch}.withDefaults()
	layout, err := filepath.Abs(o.layout())
	if err != nil {
		return Base{}, false, err
	}
	if _, err := os.Stat(layout); errors.Is(err, fs.ErrNotExist) {
		return Base{}, false, nil
	}
	b, err := open(layout)
	if err != nil {
		return Base{}, false, err
	}
	b.Ref, b.Suite, b.Arch = RefFor(o.Suite), o.Suite, o.Arch
	return b, true, nil
}

// open reads a layout with exactly one image.
func open(layout string) (Base, error) {
	b := Base{Layout: layout}
	var index ocispec.Index
	if err := readJSON(filepath.Join(layout, ocispec.ImageIndexFile), &index); err != nil {
		return b, err
	}
	if n := len(index.Manifests); n != 1 {
		return b, fmt.Errorf("%w: its index must have one image, got %d", ErrDamaged, n)
	}
	b.Manifest = index.Manifests[0]
	b.Manifest.Annotations = nil
	var manifest ocispec.Manifest
	if err := readBlob(layout, b.Manifest, &manifest); err != nil {
		return b, err
	}
	var config ocispec.Image
	if err := readBlob(layout, manifest.Config, &config); err != nil {
		return b, err
	}
	b.ConfigDigest, b.Layers, b.DiffIDs = manifest.Config.Digest, manifest.Layers, config.RootFS.DiffIDs
	for _, l := range b.Layers {
		info, err := os.Stat(filepath.Join(layout, blobPath(l.Digest)))
		if err != nil || info.Size() != l.Size {
			return b, fmt.Errorf("%w: layer %s is missing or truncated", ErrDamaged, l.Digest)
		}
	}
	return b, nil
}

func readJSON(path string, into any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, filepath.Base(path), err)
	}
	return nil
}

func readBlob(layout string, desc ocispec.Descriptor, into any) error {
	if err := desc.Digest.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	raw, err := os.ReadFile(filepath.Join(layout, blobPath(desc.Digest)))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if digest.FromBytes(raw) != desc.Digest {
		return fmt.Errorf("%w: blob %s does not match its digest", ErrDamaged, desc.Digest)
	}
	return json.Unmarshal(raw, into)
}

// blobPath is a blob's path in both formats, with slashes.
func blobPath(d digest.Digest) string {
	return ocispec.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}

// debianArch converts Go's name of an architecture to Debian's.
func debianArch(goarch string) string {
	switch goarch {
	case "386":
		return "i386"
	case "arm":
		return "armhf"
	case "ppc64le":
		return "ppc64el"
	default:
		return goarch
	}
}

func hostArch() string { return runtime.GOARCH }
