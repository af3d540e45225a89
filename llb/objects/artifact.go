package objects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/llorch/llorch-bk/llb/registry"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// ArtifactType is the artifact type of the manifest.
	ArtifactType = "application/vnd.llorch.objects.v1"
	// LayerType is the media type of a slot: a tar archive of ccache entries in the layout
	// of its file storage. The entries are already compressed.
	LayerType = "application/vnd.llorch.objects.v1.tar"

	slotKey      = "dev.llorch.objects.slot"
	toolchainKey = "dev.llorch.objects.toolchain"
	contentKey   = "dev.llorch.objects.content"
)

// Ref names an artifact in a registry.
type Ref struct {
	// Name is the artifact's name, with its tag.
	Name string
	// Insecure allows connections to the registry without TLS.
	Insecure bool
}

// Beside names the artifact that belongs to a layer cache: the cache's name with "-objects"
// after the tag. A cache that is named by digest has none.
func Beside(cache string) (string, error) {
	named, err := reference.ParseNormalizedNamed(cache)
	if err != nil {
		return "", err
	}
	if _, ok := named.(reference.Digested); ok {
		return "", errors.New("the cache is named by digest")
	}
	tagged, ok := reference.TagNameOnly(named).(reference.Tagged)
	if !ok {
		return "", errors.New("the cache has no tag")
	}
	beside, err := reference.WithTag(reference.TrimNamed(named), tagged.Tag()+"-objects")
	if err != nil {
		return "", err
	}
	return reference.FamiliarString(beside), nil
}

// entry is a slot in an artifact.
type entry struct {
	slot, toolchain string
	// content identifies the slot's files by their names, which are hashes.
	content string
	created time.Time
	digest  digest.Digest
	size    int64
}

func (e entry) descriptor() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: LayerType, Digest: e.digest, Size: e.size, Annotations: map[string]string{
		slotKey: e.slot, toolchainKey: e.toolchain, contentKey: e.content, ocispec.AnnotationCreated: e.created.Format(time.RFC3339),
	}}
}

func (r Ref) parse() (name.Tag, error) {
	if r.Insecure {
		return name.NewTag(r.Name, name.Insecure)
	}
	return name.NewTag(r.Name)
}

// asking are the options of a request.
func (c *Carrier) asking(ctx context.Context) []remote.Option {
	return append(registry.Options(c.cfg.Transport), remote.WithContext(ctx))
}

// readArtifact lists the slots of an artifact; none if it does not exist yet.
func (c *Carrier) readArtifact(ctx context.Context, r Ref) ([]entry, error) {
	tag, err := r.parse()
	if err != nil {
		return nil, err
	}
	got, err := remote.Get(tag, c.asking(ctx)...)
	if registry.IsMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(got.Manifest, &m); err != nil {
		return nil, fmt.Errorf("invalid manifest: %w", err)
	}
	if m.ArtifactType != ArtifactType {
		return nil, fmt.Errorf("unexpected artifact type %q", m.ArtifactType)
	}
	var out []entry
	for _, l := range m.Layers {
		// A slot without a time counts as the oldest, and is evicted first.
		created, _ := time.Parse(time.RFC3339, l.Annotations[ocispec.AnnotationCreated])
		out = append(out, entry{
			slot: l.Annotations[slotKey], toolchain: l.Annotations[toolchainKey], content: l.Annotations[contentKey],
			created: created, digest: l.Digest, size: l.Size,
		})
	}
	return out, nil
}

// open reads a slot's archive. Reading fails at the end if the digest does not match.
func (c *Carrier) open(ctx context.Context, r Ref, e entry) (io.ReadCloser, error) {
	tag, err := r.parse()
	if err != nil {
		return nil, err
	}
	layer, err := remote.Layer(tag.Context().Digest(e.digest.String()), c.asking(ctx)...)
	if err != nil {
		return nil, err
	}
	return layer.Compressed()
}

// writeArtifact writes the manifest for slots that its repository already has.
func (c *Carrier) writeArtifact(ctx context.Context, r Ref, entries []entry) error {
	tag, err := r.parse()
	if err != nil {
		return err
	}
	empty := ocispec.DescriptorEmptyJSON
	if err := remote.WriteLayer(tag.Context(), static.NewLayer(empty.Data, types.MediaType(empty.MediaType)), c.asking(ctx)...); err != nil {
		return err
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: ArtifactType,
		Config: empty, Layers: []ocispec.Descriptor{},
	}
	for _, e := range entries {
		m.Layers = append(m.Layers, e.descriptor())
	}
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return remote.Put(tag, registry.Manifest{Data: data, Type: types.OCIManifestSchema1}, c.asking(ctx)...)
}

// blob is a slot in a local file.
type blob struct {
	entry
	path string
}

func (c *Carrier) writeBlob(ctx context.Context, r Ref, b blob) error {
	tag, err := r.parse()
	if err != nil {
		return err
	}
	return remote.WriteLayer(tag.Context(), registry.File{Path: b.path, Descriptor: b.descriptor()}, c.asking(ctx)...)
}
