// Package audit checks an image against its own statements: every blob against its digest,
// and every statement in its index against the image's files.
package audit

import (
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Image is one platform's image, in a registry or an archive.
type Image struct {
	v1.Image
	// Root is the digest that its name refers to: its index's, or its own if it is in none.
	Root v1.Hash
	// Descriptor is the descriptor of its manifest.
	Descriptor v1.Descriptor
	// beside are all manifests in its index, including its own.
	beside []v1.Descriptor
	// index is the index with its statements; nil if it is in none.
	index v1.ImageIndex
}

// ErrPlatform means that an index does not have exactly one image for the platform.
var ErrPlatform = errors.New("want exactly one image for the platform")

// Remote selects a platform's image from a registry's answer.
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

// Layout selects a platform's image from an OCI layout with one image or one index.
func Layout(index v1.ImageIndex, platform v1.Platform) (*Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(manifest.Manifests) == 0 {
		return nil, errors.New("it has no image")
	}
	// An image with several names has an entry for each.
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

// pick selects the image of a platform from an index.
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
		return nil, fmt.Errorf("%w %s, got %d", ErrPlatform, platform, len(found))
	}
	img, err := index.Image(found[0].Digest)
	if err != nil {
		return nil, err
	}
	return &Image{Image: img, Root: root, Descriptor: found[0], beside: manifest.Manifests, index: index}, nil
}
