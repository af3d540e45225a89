package bundle

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of an artifact and of its blobs.
const (
	// ArtifactType is the type of the manifest for a lock on one platform. Its config is
	// the lock.
	ArtifactType = "application/vnd.llorch.bundle.v1"
	// LockType is a lock in its canonical form.
	LockType = "application/vnd.llorch.lock.v1+json"
	// PackageType is a distribution package. Its digest is in the lock.
	PackageType = "application/vnd.debian.binary-package"
	// NPMType is an npm package. AnnotationIntegrity has the hash that pins it.
	NPMType = "application/vnd.llorch.npm-package.v1+gzip"
	// SourceType is a git bundle of the locked commit.
	SourceType = "application/vnd.llorch.source.v1+gitbundle"
	// BuilderType is BuildKit's daemon, for the platform's architecture.
	BuilderType = "application/vnd.llorch.buildkitd.v1"
	// ModelType is a file of a model.
	ModelType = "application/vnd.llorch.model.v1+gguf"
)

// Annotations of this program.
const (
	// AnnotationPlatform is the platform of an artifact, such as linux/amd64.
	AnnotationPlatform = "dev.llorch.platform"
	// AnnotationIntegrity is the integrity of an npm package in its lock file.
	AnnotationIntegrity = "dev.llorch.npm.integrity"
	// AnnotationCommit is the commit in a git bundle.
	AnnotationCommit = "dev.llorch.commit"
	// AnnotationModel is the reference of a model. AnnotationModelFile is the file's path in
	// the model store.
	AnnotationModel     = "dev.llorch.model"
	AnnotationModelFile = "dev.llorch.model.file"
	// AnnotationModelRevision is what the ref's revision meant when the model was fetched.
	AnnotationModelRevision = "dev.llorch.model.revision"
)

// Artifact is the stored content for a lock on one platform.
type Artifact struct {
	// Manifest describes the manifest that lists the blobs.
	Manifest ocispec.Descriptor
	Platform string
	Lock     images.Lock
	// LockDigest is the digest of the lock in its canonical form.
	LockDigest digest.Digest
	// Blobs are the blobs that are stored.
	Blobs []ocispec.Descriptor
}

// Of returns the blobs of a type.
func (a Artifact) Of(mediaType string) []ocispec.Descriptor {
	return slices.DeleteFunc(slices.Clone(a.Blobs), func(d ocispec.Descriptor) bool { return d.MediaType != mediaType })
}

// Bases are the base images of the lock on the platform, without duplicates.
func (a Artifact) Bases() []images.BaseFacts {
	p := a.Lock.Platforms[a.Platform]
	var out []images.BaseFacts
	for _, b := range []images.BaseFacts{p.Build, p.Runtime, p.Accelerator} {
		if b.Ref != "" && !slices.ContainsFunc(out, func(o images.BaseFacts) bool { return o.Digest == b.Digest }) {
			out = append(out, b)
		}
	}
	return out
}

// Artifacts lists the store's artifacts whose locks this program can read.
func (s *Store) Artifacts() ([]Artifact, error) {
	index, err := s.Index()
	if err != nil {
		return nil, err
	}
	return artifacts(index, s.Read)
}

func artifacts(index ocispec.Index, read func(digest.Digest) ([]byte, error)) ([]Artifact, error) {
	var out []Artifact
	for _, d := range index.Manifests {
		if d.ArtifactType != ArtifactType {
			continue
		}
		a, err := readArtifact(d, read)
		var other *fault.Fault
		if errors.As(err, &other) {
			continue // A lock of another version of this program.
		}
		if err != nil {
			return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
		}
		out = append(out, a)
	}
	return out, nil
}

func readArtifact(d ocispec.Descriptor, read func(digest.Digest) ([]byte, error)) (Artifact, error) {
	a := Artifact{Manifest: d}
	data, err := read(d.Digest)
	if err != nil {
		return a, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return a, err
	}
	if m.ArtifactType != ArtifactType || m.Config.MediaType != LockType {
		return a, fmt.Errorf("unexpected types: manifest %q, config %q", m.ArtifactType, m.Config.MediaType)
	}
	if data, err = read(m.Config.Digest); err != nil {
		return a, err
	}
	if a.Lock, err = images.DecodeLock(data); err != nil {
		return a, err
	}
	a.Platform, a.LockDigest, a.Blobs = m.Annotations[AnnotationPlatform], m.Config.Digest, m.Layers
	if _, ok := a.Lock.Platforms[a.Platform]; !ok {
		return a, fmt.Errorf("its lock has no platform %q", a.Platform)
	}
	for _, b := range a.Blobs {
		if err := b.Digest.Validate(); err != nil || b.Digest.Algorithm() != digest.SHA256 {
			return a, fmt.Errorf("%q is not a sha256 digest", b.Digest)
		}
	}
	return a, nil
}

// Keep records that blobs, which the store has, belong to a lock on a platform, and that
// bases are its base images. It replaces an earlier record for the same lock and platform.
func (s *Store) Keep(ctx context.Context, lock images.Lock, platform string, blobs, bases []ocispec.Descriptor) (Artifact, error) {
	data, err := lock.Encode()
	if err != nil {
		return Artifact{}, err
	}
	config, err := s.put(ctx, LockType, data)
	if err != nil {
		return Artifact{}, err
	}
	blobs = sorted(blobs)
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: ArtifactType,
		Config: config, Layers: blobs, Annotations: map[string]string{AnnotationPlatform: platform},
	}
	if data, err = json.Marshal(manifest); err != nil {
		return Artifact{}, err
	}
	d, err := s.put(ctx, ocispec.MediaTypeImageManifest, data)
	if err != nil {
		return Artifact{}, err
	}
	d.ArtifactType = ArtifactType
	// Readers of the index see the platform and the commit without opening the manifest.
	d.Annotations = map[string]string{AnnotationPlatform: platform, AnnotationCommit: lock.Source.Commit}
	a := Artifact{Manifest: d, Platform: platform, Lock: lock, LockDigest: config.Digest, Blobs: blobs}
	return a, s.update(ctx, func(index *ocispec.Index) error {
		return merge(index, s.Read, append([]ocispec.Descriptor{d}, bases...))
	})
}

// merge adds manifests to an index. A manifest for the same lock and platform, or of the
// same image, is replaced.
func merge(index *ocispec.Index, read func(digest.Digest) ([]byte, error), added []ocispec.Descriptor) error {
	for _, d := range added {
		var replaces func(ocispec.Descriptor) bool
		if d.ArtifactType == ArtifactType {
			a, err := readArtifact(d, read)
			if err != nil {
				return err
			}
			replaces = func(o ocispec.Descriptor) bool {
				if o.ArtifactType != ArtifactType {
					return false
				}
				old, err := readArtifact(o, read)
				return err != nil || old.LockDigest == a.LockDigest && old.Platform == a.Platform
			}
		} else {
			replaces = func(o ocispec.Descriptor) bool { return o.Digest == d.Digest }
		}
		index.Manifests = append(slices.DeleteFunc(index.Manifests, replaces), d)
	}
	slices.SortStableFunc(index.Manifests, func(x, y ocispec.Descriptor) int { return cmp.Compare(x.Digest, y.Digest) })
	return nil
}

// sorted sorts blobs and removes duplicates.
func sorted(blobs []ocispec.Descriptor) []ocispec.Descriptor {
	out := slices.Clone(blobs)
	slices.SortFunc(out, func(x, y ocispec.Descriptor) int {
		return cmp.Or(cmp.Compare(x.MediaType, y.MediaType), cmp.Compare(x.Annotations[ocispec.AnnotationTitle], y.Annotations[ocispec.AnnotationTitle]), cmp.Compare(x.Digest, y.Digest))
	})
	return slices.CompactFunc(out, func(x, y ocispec.Descriptor) bool { return x.Digest == y.Digest })
}

// ErrNotThere means that a store does not have something.
var ErrNotThere = errors.New("not found")

// Image returns the config of an image for a platform, by the digest of its manifest or of
// an index that contains it. The error is ErrNotThere if the store lacks one of its blobs.
func (s *Store) Image(d digest.Digest, platform string) (config []byte, err error) {
	m, err := s.manifest(d, platform)
	if err != nil {
		return nil, err
	}
	for _, l := range m.Layers {
		if !s.Has(l.Digest) {
			return nil, fmt.Errorf("layer %s: %w", l.Digest, ErrNotThere)
		}
	}
	if !s.Has(m.Config.Digest) {
		return nil, fmt.Errorf("config %s: %w", m.Config.Digest, ErrNotThere)
	}
	return s.Read(m.Config.Digest)
}

// manifest is the manifest of an image for a platform.
func (s *Store) manifest(d digest.Digest, platform string) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	for range 2 {
		if !s.Has(d) {
			return m, fmt.Errorf("manifest %s: %w", d, ErrNotThere)
		}
		data, err := s.Read(d)
		if err != nil {
			return m, err
		}
		var index ocispec.Index
		if err := errors.Join(json.Unmarshal(data, &m), json.Unmarshal(data, &index)); err != nil {
			return m, fmt.Errorf("manifest %s: %w", d, err)
		}
		if len(index.Manifests) == 0 {
			return m, nil
		}
		child, ok := PlatformOf(index, platform)
		if !ok {
			return m, fmt.Errorf("the index %s has no image for %s", d, platform)
		}
		d = child.Digest
	}
	return m, fmt.Errorf("%s is an index of indexes", d)
}

// PlatformOf finds the image for a platform in an index.
func PlatformOf(index ocispec.Index, platform string) (ocispec.Descriptor, bool) {
	i := slices.IndexFunc(index.Manifests, func(d ocispec.Descriptor) bool {
		return d.Platform != nil && d.Platform.OS+"/"+d.Platform.Architecture == platform
	})
	if i < 0 {
		return ocispec.Descriptor{}, false
	}
	return index.Manifests[i], true
}

// ReadManifest parses the manifest of an image.
func ReadManifest(data []byte) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	err := json.Unmarshal(data, &m)
	return m, err
}
