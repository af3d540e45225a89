// Package registry answers one question: what model does a container registry have under
// a name? It reads the manifest of an artifact, as Docker Model Runner, CNCF's ModelPack,
// Ollama, oras or podman makes one, and the headers of its files where the manifest leaves
// a doubt.
package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

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
		m, err = c.look(ctx, r, note)
		return false, err
	})
	return m, err
}

func (c *Client) look(ctx context.Context, r ref.Ref, note func(string)) (Model, error) {
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
	found, err := weightLayers(manifest)
	if err != nil {
		return Model{}, err
	}
	source := func(l v1.Descriptor) transfer.Source {
		return transfer.Source{
			Address: host.Scheme() + "://" + host.RegistryStr() + "/v2/" + at.Context().RepositoryStr() + "/blobs/" + l.Digest.String(),
			Size:    l.Size, Want: digest.Want{SHA256: l.Digest.Hex}, Resumable: true, Transport: over,
		}
	}
	layers, why, err := c.model(ctx, r, found, source)
	if err != nil {
		return Model{}, err
	}
	if why != "" {
		note(why)
	}
	m := Model{Digest: got.Digest.Hex}
	names := fileNames(r.BaseName(), layers)
	for i, l := range layers {
		m.Files = append(m.Files, File{Name: names[i], Source: source(l)})
	}
	return m, nil
}

// mostHeaders bounds how many headers are read to tell the files of an artifact apart.
const mostHeaders = 64

// model chooses the layers of the model that a ref means.
func (c *Client) model(ctx context.Context, r ref.Ref, found []v1.Descriptor, source func(v1.Descriptor) transfer.Source) ([]v1.Descriptor, string, error) {
	// A hash names one of an artifact's models.
	if i := slices.IndexFunc(found, func(l v1.Descriptor) bool { return l.Digest.Hex == r.SHA256 }); i >= 0 {
		return found[i : i+1], "", nil
	}
	all := make([]candidate, len(found))
	names := make([]string, len(found))
	for i, l := range found {
		all[i] = candidate{Descriptor: l, name: saidName(l)}
		names[i] = all[i].name
	}
	if len(all) > 1 && !isRow(names) {
		for i := range all[:min(len(all), mostHeaders)] {
			facts, err := c.facts(ctx, source(found[i]))
			if ctx.Err() != nil {
				return nil, "", context.Cause(ctx)
			}
			all[i].facts, all[i].known = facts, err == nil
		}
	}
	chosen, why, err := choose(all, r.BaseName(), gguf.QuantOf(r.Revision))
	if err != nil {
		return nil, "", err
	}
	var layers []v1.Descriptor
	for _, l := range chosen {
		layers = append(layers, l.Descriptor)
	}
	if r.SHA256 != "" && len(layers) == 1 && r.SHA256 != layers[0].Digest.Hex {
		return nil, "", &digest.MismatchError{Kind: "SHA-256 in the registry", Want: r.SHA256, Got: layers[0].Digest.Hex}
	}
	return layers, why, nil
}

// facts are what the header of a layer says. No more of the layer is fetched.
func (c *Client) facts(ctx context.Context, src transfer.Source) (gguf.Facts, error) {
	in := c.Transfer.Beginning(ctx, src, gguf.MaxHeader)
	defer in.Close()
	return gguf.Examine(in, src.Size)
}

// parse makes a reference of the registry library's of a ref.
func parse(r ref.Ref) (name.Reference, error) {
	if digest.IsSHA256(r.Revision) {
		return name.ParseReference(r.Repo + "@sha256:" + r.Revision)
	}
	return name.ParseReference(r.Repo + ":" + r.Revision)
}

// weightLayers are the layers of a manifest that can be GGUF files of a model.
func weightLayers(manifest v1.Manifest) ([]v1.Descriptor, error) {
	var layers []v1.Descriptor
	packed := ""
	for _, l := range manifest.Layers {
		switch kind := string(l.MediaType); {
		case isWeights(l):
			layers = append(layers, l)
		case isArchive(kind) && strings.Contains(kind, "model"):
			packed = kind
		}
	}
	switch {
	case len(layers) == 0 && packed != "":
		return nil, fmt.Errorf("%w, but an archive of type %s, which is not unpacked", ErrNoLayer, fault.Printable(packed))
	case len(layers) == 0:
		return nil, fmt.Errorf("%w, but one of type %s", ErrNoLayer, fault.Printable(string(manifest.Config.MediaType)))
	case len(layers) > gguf.MaxShards:
		return nil, fmt.Errorf("it has %d layers with GGUF files", len(layers))
	}
	for _, l := range layers {
		if l.Digest.Algorithm != "sha256" || !digest.IsSHA256(l.Digest.Hex) || l.Size < gguf.HeadSize {
			return nil, fmt.Errorf("its layer %s has %d bytes: %w", fault.Printable(l.Digest.String()), l.Size, gguf.ErrNotModel)
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
