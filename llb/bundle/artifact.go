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

// Types of an artifact and of its blobs.
const (
	// ArtifactType marks the manifest of what a lock names on one platform. Its config
	// is the lock.
	ArtifactType = "application/vnd.llorch.bundle.v1"
	// LockType is a lock in its one form.
	LockType = "application/vnd.llorch.lock.v1+json"
	// PackageType is a package of the distribution, whose digest the lock names.
	PackageType = "application/vnd.debian.binary-package"
	// NPMType is a package of npm's; AnnotationIntegrity has the hash that pins it.
	NPMType = "application/vnd.llorch.npm-package.v1+gzip"
	// SourceType is a git bundle of the locked commit.
	SourceType = "application/vnd.llorch.source.v1+gitbundle"
	// BuilderType is BuildKit's daemon, for the platform's architecture.
	BuilderType = "application/vnd.llorch.buildkitd.v1"
	// ModelType is a file of a model.
	ModelType = "application/vnd.llorch.model.v1+gguf"
)

// Annotations of ours.
const (
	// AnnotationPlatform is the platform of an artifact, as linux/amd64.
	AnnotationPlatform = "dev.llorch.platform"
	// AnnotationIntegrity is the hash of an npm package, as its lock file has it.
	AnnotationIntegrity = "dev.llorch.npm.integrity"
	// AnnotationCommit is the commit in a git bundle.
	AnnotationCommit = "dev.llorch.commit"
	// AnnotationModel is the ref of a model, and AnnotationModelFile where the store of
	// models has the file, from the store's top.
	AnnotationModel     = "dev.llorch.model"
	AnnotationModelFile = "dev.llorch.model.file"
	// AnnotationModelRevision is what the ref's revision was when the model was fetched.
	AnnotationModelRevision = "dev.llorch.model.revision"
)

// Artifact is what a lock names on one platform, as far as it is kept.
type Artifact struct {
	// Manifest describes the manifest that lists the blobs.
	Manifest ocispec.Descriptor
	Platform string
	Lock     images.Lock
	// LockDigest is that of the lock in its one form.
	LockDigest digest.Digest
	// Blobs are what is kept.
	Blobs []ocispec.Descriptor
}

// Of gives the blobs of a type.
func (a Artifact) Of(mediaType string) []ocispec.Descriptor {
	return slices.DeleteFunc(slices.Clone(a.Blobs), func(d ocispec.Descriptor) bool { return d.MediaType != mediaType })
}

// Bases are the images that the lock names on the platform, each once.
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

// Artifacts are what the store has for locks that this program can read.
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
			return nil, fmt.Errorf("the manifest %s: %w", d.Digest, err)
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
		return a, fmt.Errorf("it is of type %q, and its config of %q", m.ArtifactType, m.Config.MediaType)
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
			return a, fmt.Errorf("%q is no digest", b.Digest)
		}
	}
	return a, nil
}

// Keep writes down that blobs, which the store has, are what a lock names on a
// platform, and which images its bases are. What was written down for the same lock and
// platform before is replaced.
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
	// Those who read the index alone see whose it is.
	d.Annotations = map[string]string{AnnotationPlatform: platform, AnnotationCommit: lock.Source.Commit}
	a := Artifact{Manifest: d, Platform: platform, Lock: lock, LockDigest: config.Digest, Blobs: blobs}
	return a, s.update(ctx, func(index *ocispec.Index) error {
		return merge(index, s.Read, append([]ocispec.Descriptor{d}, bases...))
	})
}

// merge adds manifests to an index. One of the same lock and platform, or of the same
// image, takes the other's place.
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

// sorted are blobs in one order, each once.
func sorted(blobs []ocispec.Descriptor) []ocispec.Descriptor {
	out := slices.Clone(blobs)
	slices.SortFunc(out, func(x, y ocispec.Descriptor) int {
		return cmp.Or(cmp.Compare(x.MediaType, y.MediaType), cmp.Compare(x.Annotations[ocispec.AnnotationTitle], y.Annotations[ocispec.AnnotationTitle]), cmp.Compare(x.Digest, y.Digest))
	})
	return slices.CompactFunc(out, func(x, y ocispec.Descriptor) bool { return x.Digest == y.Digest })
}

// ErrNotThere says that a store lacks something.
var ErrNotThere = errors.New("it is not there")

// Image is the config of an image for a platform, by its manifest's digest or by that
// of an index which has it. ErrNotThere says that some of its blobs are not in the store.
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

// manifest is that of an image for a platform.
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

// PlatformOf is the image of an index for a platform.
func PlatformOf(index ocispec.Index, platform string) (ocispec.Descriptor, bool) {
	i := slices.IndexFunc(index.Manifests, func(d ocispec.Descriptor) bool {
		return d.Platform != nil && d.Platform.OS+"/"+d.Platform.Architecture == platform
	})
	if i < 0 {
		return ocispec.Descriptor{}, false
	}
	return index.Manifests[i], true
}

// ReadManifest reads the manifest of an image.
func ReadManifest(data []byte) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	err := json.Unmarshal(data, &m)
	return m, err
}
