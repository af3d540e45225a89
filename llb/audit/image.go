// Package audit checks that an image is what it says: every blob against its digest, and
// every statement that comes with the image against the image's own files.
package audit

import (
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Image is one platform's image, as a registry or an archive has it.
type Image struct {
	v1.Image
	// Root is the digest that its name stands for: of the index that it is in, else its
	// own.
	Root v1.Hash
	// Descriptor is that of its manifest.
	Descriptor v1.Descriptor
	// beside is all that its index has, itself included.
	beside []v1.Descriptor
	// index gives the statements in it; nil where there is none.
	index v1.ImageIndex
}

// ErrPlatform says that there is not one image for the platform.
var ErrPlatform = errors.New("there is not one image for the platform")

// Remote takes the image for a platform from what a registry gave.
func Remote(desc *remote.Descriptor, platform v1.Platform) (*Image, error) {
	if desc.MediaType.IsIndex() {
		index, err := desc.ImageIndex()
		if err != nil {
			return nil, err
		}
		return pick(index, desc.Digest, platform)
	}
	img, err := desc.Image()
	if err != nil {
		return nil, err
	}
	return &Image{Image: img, Root: desc.Digest, Descriptor: desc.Descriptor}, nil
}

// Layout takes the image for a platform from an OCI layout that has one image, or one
// index.
func Layout(index v1.ImageIndex, platform v1.Platform) (*Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(manifest.Manifests) == 0 {
		return nil, errors.New("it has no image")
	}
	// An image with several names is there once for each.
	first := manifest.Manifests[0]
	for _, m := range manifest.Manifests[1:] {
		if m.Digest != first.Digest {
			return nil, errors.New("it has several images")
		}
	}
	if first.MediaType.IsIndex() {
		inner, err := index.ImageIndex(first.Digest)
		if err != nil {
			return nil, err
		}
		if err := blob(first, inner.RawManifest); err != nil {
			return nil, failed("index", "", first.Digest, err)
		}
		return pick(inner, first.Digest, platform)
	}
	img, err := index.Image(first.Digest)
	if err != nil {
		return nil, err
	}
	return &Image{Image: img, Root: first.Digest, Descriptor: first}, nil
}

// pick takes the one image for a platform from an index.
func pick(index v1.ImageIndex, root v1.Hash, platform v1.Platform) (*Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var found []v1.Descriptor
	for _, m := range manifest.Manifests {
		if m.Platform != nil && m.Platform.OS == platform.OS && m.Platform.Architecture == platform.Architecture {
			found = append(found, m)
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%w %s, but %d", ErrPlatform, platform, len(found))
	}
	img, err := index.Image(found[0].Digest)
	if err != nil {
		return nil, err
	}
	return &Image{Image: img, Root: root, Descriptor: found[0], beside: manifest.Manifests, index: index}, nil
}
