// Package registry has the common settings of requests to container registries, with the
// credentials of docker login, and types for artifacts.
package registry

import (
	"errors"
	"io"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Options are the options of every request. A nil transport is http.DefaultTransport.
func Options(via http.RoundTripper) []remote.Option {
	if via == nil {
		via = http.DefaultTransport
	}
	return []remote.Option{remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithTransport(via)}
}

// IsMissing reports whether a registry answered that it does not have the requested object.
func IsMissing(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}

// Manifest is a manifest or an index for remote.Put.
type Manifest struct {
	Data []byte
	Type types.MediaType
}

var _ remote.Taggable = Manifest{}

// RawManifest implements remote.Taggable.
func (m Manifest) RawManifest() ([]byte, error) { return m.Data, nil }

// MediaType implements remote.Taggable.
func (m Manifest) MediaType() (types.MediaType, error) { return m.Type, nil }

// File is a blob in a file for remote.WriteLayer. It is pushed unchanged.
type File struct {
	Path string
	ocispec.Descriptor
}

var _ v1.Layer = File{}

// Digest implements v1.Layer.
func (f File) Digest() (v1.Hash, error) { return v1.NewHash(f.Descriptor.Digest.String()) }

// DiffID implements v1.Layer.
func (f File) DiffID() (v1.Hash, error) { return f.Digest() }

// Compressed implements v1.Layer.
func (f File) Compressed() (io.ReadCloser, error) { return os.Open(f.Path) }

// Uncompressed implements v1.Layer.
func (f File) Uncompressed() (io.ReadCloser, error) { return f.Compressed() }

// Size implements v1.Layer.
func (f File) Size() (int64, error) { return f.Descriptor.Size, nil }

// MediaType implements v1.Layer.
func (f File) MediaType() (types.MediaType, error) {
	return types.MediaType(f.Descriptor.MediaType), nil
}
