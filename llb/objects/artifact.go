package objects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// ArtifactType is that of the manifest.
	ArtifactType = "application/vnd.llorch.objects.v1"
	// LayerType is that of a slot: a tar archive of entries of ccache, which are
	// compressed already, in the layout of its file storage.
	LayerType = "application/vnd.llorch.objects.v1.tar"

	slotKey      = "dev.llorch.objects.slot"
	toolchainKey = "dev.llorch.objects.toolchain"
	contentKey   = "dev.llorch.objects.content"
)

// Ref is an artifact in a registry.
type Ref struct {
	// Name is the artifact's, with its tag.
	Name string
	// Insecure lets the registry be spoken to without TLS.
	Insecure bool
}

// Beside is the artifact that belongs to a layer cache: its name with "-objects" after the
// tag. A cache that is named by digest has none.
func Beside(cache string) (string, error) {
	named, err := reference.ParseNormalizedNamed(cache)
	if err != nil {
		return "", err
	}
	if _, ok := named.(reference.Digested); ok {
		return "", errors.New("it is named by digest")
	}
	tagged, ok := reference.TagNameOnly(named).(reference.Tagged)
	if !ok {
		return "", errors.New("it has no tag")
	}
	beside, err := reference.WithTag(reference.TrimNamed(named), tagged.Tag()+"-objects")
	if err != nil {
		return "", err
	}
	return reference.FamiliarString(beside), nil
}

// entry is a slot of an artifact.
type entry struct {
	slot, toolchain string
	// content identifies the names of what is inside, which are hashes themselves.
	content string
	created time.Time
	digest  digest.Digest
	size    int64
}

func (r Ref) parse() (name.Tag, error) {
	if r.Insecure {
		return name.NewTag(r.Name, name.Insecure)
	}
	return name.NewTag(r.Name)
}

// login are the options that speak to a registry as docker does.
func login(ctx context.Context) []remote.Option {
	return []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
}

// readArtifact reads what an artifact has; nothing where there is none yet.
func readArtifact(ctx context.Context, r Ref) ([]entry, error) {
	tag, err := r.parse()
	if err != nil {
		return nil, err
	}
	got, err := remote.Get(tag, login(ctx)...)
	var answer *transport.Error
	if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(got.Manifest, &m); err != nil {
		return nil, fmt.Errorf("its manifest: %w", err)
	}
	if m.ArtifactType != ArtifactType {
		return nil, fmt.Errorf("it is something else: %s", m.ArtifactType)
	}
	var out []entry
	for _, l := range m.Layers {
		// One without a time is the first to go.
		created, _ := time.Parse(time.RFC3339, l.Annotations[ocispec.AnnotationCreated])
		out = append(out, entry{
			slot: l.Annotations[slotKey], toolchain: l.Annotations[toolchainKey], content: l.Annotations[contentKey],
			created: created, digest: l.Digest, size: l.Size,
		})
	}
	return out, nil
}

// open reads a slot's archive, and fails at its end if it is not what it is said to be.
func (e entry) open(ctx context.Context, r Ref) (io.ReadCloser, error) {
	tag, err := r.parse()
	if err != nil {
		return nil, err
	}
	layer, err := remote.Layer(tag.Context().Digest(e.digest.String()), login(ctx)...)
	if err != nil {
		return nil, err
	}
	return layer.Compressed()
}

// writeArtifact makes the artifact of slots that its repository has.
func writeArtifact(ctx context.Context, r Ref, entries []entry) error {
	tag, err := r.parse()
	if err != nil {
		return err
	}
	empty := ocispec.DescriptorEmptyJSON
	if err := remote.WriteLayer(tag.Context(), static.NewLayer(empty.Data, types.MediaType(empty.MediaType)), login(ctx)...); err != nil {
		return err
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: ArtifactType,
		Config: empty, Layers: []ocispec.Descriptor{},
	}
	for _, e := range entries {
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: LayerType, Digest: e.digest, Size: e.size, Annotations: map[string]string{
			slotKey: e.slot, toolchainKey: e.toolchain, contentKey: e.content, ocispec.AnnotationCreated: e.created.Format(time.RFC3339),
		}})
	}
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return remote.Put(tag, manifest(data), login(ctx)...)
}

// manifest is what remote.Put takes.
type manifest []byte

func (m manifest) RawManifest() ([]byte, error)        { return m, nil }
func (m manifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// blob is a slot in a file here.
type blob struct {
	entry
	path string
}

func writeBlob(ctx context.Context, r Ref, b blob) error {
	tag, err := r.parse()
	if err != nil {
		return err
	}
	return remote.WriteLayer(tag.Context(), layer{b}, login(ctx)...)
}

// layer is a blob as remote.WriteLayer takes it.
type layer struct{ blob }

func (l layer) Digest() (v1.Hash, error)             { return v1.NewHash(l.digest.String()) }
func (l layer) DiffID() (v1.Hash, error)             { return l.Digest() }
func (l layer) Compressed() (io.ReadCloser, error)   { return os.Open(l.path) }
func (l layer) Uncompressed() (io.ReadCloser, error) { return l.Compressed() }
func (l layer) Size() (int64, error)                 { return l.size, nil }
func (l layer) MediaType() (types.MediaType, error)  { return LayerType, nil }

var _ remote.Taggable = manifest{}
