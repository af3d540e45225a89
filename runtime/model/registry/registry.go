// Package registry answers one question: what model does a container registry have under
// a name? It reads the manifest of an artifact that Docker Model Runner or CNCF's ModelPack
// made. It downloads nothing.
package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	registryauth "github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// Client asks container registries.
type Client struct {
	// Transfer says how long a registry may be silent, and what requests go over.
	Transfer *transfer.Client
}

// Model is a model in a registry.
type Model struct {
	// Digest is the hex of its manifest's digest.
	Digest string
	// Files are its GGUF files, the one that the server is given first.
	Files []File
}

// File is one layer of a model.
type File struct {
	// Source is where to fetch it. Its SHA-256 is the layer's digest.
	transfer.Source
	// Name is the file name: llama.cpp finds all files of a model by the first one's.
	Name string
}

// Look asks the registry what a ref means. Note gets a line for each new try. A refusal
// is a *transfer.StatusError.
func (c *Client) Look(ctx context.Context, r ref.Ref, retries uint64, note func(string)) (m Model, err error) {
	err = c.Transfer.Retry(ctx, retries, note, func() (bool, error) {
		m, err = c.look(ctx, r)
		return false, err
	})
	return m, err
}

func (c *Client) look(ctx context.Context, r ref.Ref) (Model, error) {
	at, err := parse(r)
	if err != nil {
		return Model{}, err
	}
	host := at.Context().Registry
	over, err := c.signIn(ctx, at)
	if err != nil {
		return Model{}, explain(ctx, host.RegistryStr(), err)
	}
	asking, cancel := c.deadline(ctx, host)
	defer cancel()
	got, err := remote.Get(at, remote.WithContext(asking), remote.WithTransport(over))
	if err != nil {
		return Model{}, explain(asking, host.RegistryStr(), err)
	}
	if got.MediaType.IsIndex() {
		return Model{}, fmt.Errorf("%w: it is an index of images", ErrNoLayer)
	}
	var manifest v1.Manifest
	if err := json.Unmarshal(got.Manifest, &manifest); err != nil {
		return Model{}, fmt.Errorf("its manifest cannot be read: %w", err)
	}
	layers, err := modelLayers(manifest, r)
	if err != nil {
		return Model{}, err
	}
	m := Model{Digest: got.Digest.Hex}
	names := fileNames(r.BaseName(), layers)
	for i, l := range layers {
		m.Files = append(m.Files, File{Name: names[i], Source: transfer.Source{
			Address: host.Scheme() + "://" + host.RegistryStr() + "/v2/" + at.Context().RepositoryStr() + "/blobs/" + l.Digest.String(),
			Size:    l.Size, Want: digest.Want{SHA256: l.Digest.Hex}, Resumable: true, Transport: over,
		}})
	}
	return m, nil
}

// parse makes a reference of the registry library's of a ref.
func parse(r ref.Ref) (name.Reference, error) {
	if digest.IsSHA256(r.Revision) {
		return name.ParseReference(r.Repo + "@sha256:" + r.Revision)
	}
	return name.ParseReference(r.Repo + ":" + r.Revision)
}

// modelLayers are the layers of a manifest that are GGUF files.
func modelLayers(manifest v1.Manifest, r ref.Ref) ([]v1.Descriptor, error) {
	var layers []v1.Descriptor
	for _, l := range manifest.Layers {
		if ggufLayers[string(l.MediaType)] {
			layers = append(layers, l)
		}
	}
	if len(layers) == 0 {
		return nil, fmt.Errorf("%w, but one of type %s", ErrNoLayer, fault.Printable(string(manifest.Config.MediaType)))
	}
	if len(layers) > gguf.MaxShards {
		return nil, fmt.Errorf("it has %d layers with GGUF files", len(layers))
	}
	for _, l := range layers {
		if l.Digest.Algorithm != "sha256" || !digest.IsSHA256(l.Digest.Hex) || l.Size < gguf.HeadSize {
			return nil, fmt.Errorf("its layer %s has %d bytes: %w", fault.Printable(l.Digest.String()), l.Size, gguf.ErrNotModel)
		}
		if r.SHA256 != "" && len(layers) == 1 && r.SHA256 != l.Digest.Hex {
			return nil, &digest.MismatchError{Kind: "SHA-256 in the registry", Want: r.SHA256, Got: l.Digest.Hex}
		}
	}
	return layers, nil
}

// deadline bounds one question to a registry.
func (c *Client) deadline(ctx context.Context, host name.Registry) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.Transfer.StallTime(), &transfer.NetworkError{Host: host.RegistryStr(), Err: transfer.ErrStalled})
}

// signIn is a transport that shows the registry, and nobody else, what it wants to see:
// the login that Docker has for the user, or the token that anybody is given.
func (c *Client) signIn(ctx context.Context, at name.Reference) (http.RoundTripper, error) {
	host := at.Context().Registry
	login, err := authn.Resolve(ctx, authn.DefaultKeychain, host)
	if err != nil {
		return nil, err
	}
	asking, cancel := c.deadline(ctx, host)
	defer cancel()
	return registryauth.NewWithContext(asking, host, login, c.Transfer.Connections(), []string{at.Scope(registryauth.PullScope)})
}
