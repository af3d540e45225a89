package signature

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/llorch/llorch-bk/llb/registry"
)

const (
	// bundleType is the media type of sigstore bundles that this program writes.
	bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	// bundleTypes is the prefix of the media types of all versions.
	bundleTypes = "application/vnd.dev.sigstore.bundle"
	emptyType   = "application/vnd.oci.empty.v1+json"
)

// maxBundle is the maximum size of a bundle or manifest, in bytes.
const maxBundle = 8 << 20

// Bundle is a signed statement in a registry.
type Bundle struct {
	// Digest is the digest of the artifact that refers to the image.
	Digest v1.Hash
	Data   []byte
	// Err says why Data is missing. One unreadable artifact does not affect the others.
	Err error
}

// Push stores a bundle beside an image, as cosign does: an artifact whose subject is the
// image. In a registry without referrers it updates the fallback tag (sha256-…). It returns
// the artifact's digest.
func Push(ctx context.Context, image name.Digest, kind string, data []byte, options ...remote.Option) (v1.Hash, error) {
	options = append(options, remote.WithContext(ctx))
	subject, err := remote.Head(image, options...)
	if err != nil {
		return v1.Hash{}, err
	}
	m := v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: bundleType, Subject: &v1.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
		Annotations: map[string]string{
			"org.opencontainers.image.created":  time.Now().UTC().Format(time.RFC3339),
			"dev.sigstore.bundle.content":       "dsse-envelope",
			"dev.sigstore.bundle.predicateType": kind,
		},
	}
	for _, blob := range []struct {
		data []byte
		kind types.MediaType
	}{{[]byte("{}"), emptyType}, {data, bundleType}} {
		layer := static.NewLayer(blob.data, blob.kind)
		if err := remote.WriteLayer(image.Context(), layer, options...); err != nil {
			return v1.Hash{}, err
		}
		digest, err := layer.Digest()
		if err != nil {
			return v1.Hash{}, err
		}
		desc := v1.Descriptor{MediaType: blob.kind, Digest: digest, Size: int64(len(blob.data))}
		if blob.kind == emptyType {
			m.Config = desc
		} else {
			m.Layers = []v1.Descriptor{desc}
		}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return v1.Hash{}, err
	}
	digest, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return v1.Hash{}, err
	}
	return digest, remote.Put(image.Context().Digest(digest.String()), registry.Manifest{Data: raw, Type: types.OCIManifestSchema1}, options...)
}

// Find returns the bundles that refer to an image, in the registry's order. It ignores other
// artifacts that refer to it.
func Find(ctx context.Context, image name.Digest, options ...remote.Option) ([]Bundle, error) {
	options = append(options, remote.WithContext(ctx))
	index, err := remote.Referrers(image, options...)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var out []Bundle
	for _, desc := range manifest.Manifests {
		if desc.MediaType.IsIndex() {
			continue
		}
		found, err := read(image, desc.Digest, options)
		if err != nil {
			found = []Bundle{{Digest: desc.Digest, Err: err}}
		}
		out = append(out, found...)
	}
	return out, nil
}

// read returns the bundles in an artifact. There are none if it is of another kind, or if
// its own subject is not the image.
func read(image name.Digest, digest v1.Hash, options []remote.Option) ([]Bundle, error) {
	img, err := remote.Image(image.Context().Digest(digest.String()), options...)
	if err != nil {
		return nil, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	if manifest.Subject == nil || manifest.Subject.Digest.String() != image.DigestStr() {
		return nil, nil
	}
	var out []Bundle
	for _, desc := range manifest.Layers {
		if !strings.HasPrefix(string(desc.MediaType), bundleTypes) {
			continue
		}
		if desc.Size > maxBundle {
			return nil, fmt.Errorf("the bundle is too large: got %d bytes, want at most %d", desc.Size, maxBundle)
		}
		data, err := content(img, desc)
		if err != nil {
			return nil, err
		}
		out = append(out, Bundle{Digest: digest, Data: data})
	}
	return out, nil
}

func content(img v1.Image, desc v1.Descriptor) (_ []byte, err error) {
	layer, err := img.LayerByDigest(desc.Digest)
	if err != nil {
		return nil, err
	}
	r, err := layer.Compressed()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return io.ReadAll(io.LimitReader(r, maxBundle))
}
