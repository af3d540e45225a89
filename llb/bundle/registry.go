package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/llorch/llorch-bk/llb/registry"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Scheme is the prefix of the name of a store in a registry.
const Scheme = "oci://"

// atOnce is the number of blobs that are transferred concurrently.
const atOnce = 4

// Registry is a store in a container registry, under one tag: an index of artifacts.
type Registry struct {
	tag     name.Tag
	options []remote.Option
}

// AtRegistry is the store named oci://HOST/PATH[:TAG], with the credentials of docker
// login. A nil transport is http.DefaultTransport.
func AtRegistry(ref string, via http.RoundTripper) (Registry, error) {
	tag, err := name.NewTag(strings.TrimPrefix(ref, Scheme))
	if err != nil {
		return Registry{}, err
	}
	return Registry{tag, Options(via)}, nil
}

// Options are the options of every request to a registry.
func Options(via http.RoundTripper) []remote.Option {
	options := append(registry.Options(via), remote.WithJobs(atOnce))
	// Log in once for all requests.
	if push, err := remote.NewPusher(options...); err == nil {
		options = append(options, remote.Reuse(push))
	}
	if pull, err := remote.NewPuller(options...); err == nil {
		options = append(options, remote.Reuse(pull))
	}
	return options
}

func (r Registry) String() string { return Scheme + r.tag.Name() }

func (r Registry) with(ctx context.Context) []remote.Option {
	return append(slices.Clone(r.options), remote.WithContext(ctx))
}

// index is the index under the tag; empty if the registry has none.
func (r Registry) index(ctx context.Context) (ocispec.Index, error) {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	got, err := remote.Get(r.tag, r.with(ctx)...)
	if registry.IsMissing(err) {
		return index, nil
	}
	if err != nil {
		return index, err
	}
	if !got.MediaType.IsIndex() {
		return index, fmt.Errorf("%s is not an index of bundles, but %s", r, got.MediaType)
	}
	return index, json.Unmarshal(got.Manifest, &index)
}

// Push adds an artifact of a store to the registry and keeps those of other locks. done
// receives the number of bytes transferred.
func (r Registry) Push(ctx context.Context, s *Store, a Artifact, done func(bytes int64)) error {
	index, err := r.index(ctx)
	if err != nil {
		return err
	}
	config, err := a.Lock.Encode()
	if err != nil {
		return err
	}
	blobs := append(slices.Clone(a.Blobs), ocispec.Descriptor{MediaType: LockType, Digest: a.LockDigest, Size: int64(len(config))})
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	var sum atomic.Int64
	for _, b := range blobs {
		g.Go(func() error {
			if err := remote.WriteLayer(r.tag.Repository, registry.File{Path: s.Path(b.Digest), Descriptor: b}, r.with(gctx)...); err != nil {
				return err
			}
			done(sum.Add(b.Size))
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	manifest, err := s.Read(a.Manifest.Digest)
	if err != nil {
		return err
	}
	if err := remote.Put(r.tag.Digest(a.Manifest.Digest.String()), registry.Manifest{Data: manifest, Type: types.OCIManifestSchema1}, r.with(ctx)...); err != nil {
		return err
	}
	if err := merge(&index, r.reader(ctx, s), []ocispec.Descriptor{a.Manifest}); err != nil {
		return err
	}
	data, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return remote.Put(r.tag, registry.Manifest{Data: data, Type: types.OCIImageIndex}, r.with(ctx)...)
}

// reader reads small blobs and manifests from a store, or else from the registry.
func (r Registry) reader(ctx context.Context, s *Store) func(digest.Digest) ([]byte, error) {
	return func(d digest.Digest) ([]byte, error) {
		if s.Has(d) {
			return s.Read(d)
		}
		at := r.tag.Digest(d.String())
		got, err := remote.Get(at, r.with(ctx)...)
		if err == nil {
			return got.Manifest, nil
		}
		l, err := remote.Layer(at, r.with(ctx)...)
		if err != nil {
			return nil, err
		}
		in, err := l.Compressed()
		if err != nil {
			return nil, err
		}
		defer in.Close()
		return io.ReadAll(io.LimitReader(in, maxIndex))
	}
}

// Artifacts lists the registry's artifacts whose locks this program can read. The error is
// ErrNotThere if there is nothing under the tag.
func (r Registry) Artifacts(ctx context.Context, s *Store) ([]Artifact, error) {
	index, err := r.index(ctx)
	if err != nil {
		return nil, err
	}
	if len(index.Manifests) == 0 {
		return nil, fmt.Errorf("%s: %w", r, ErrNotThere)
	}
	return artifacts(index, r.reader(ctx, s))
}

// Pull downloads those of the blobs that the store lacks.
func (r Registry) Pull(ctx context.Context, s *Store, blobs []ocispec.Descriptor, done func(bytes int64)) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	var sum atomic.Int64
	for _, b := range blobs {
		if s.Has(b.Digest) {
			continue
		}
		g.Go(func() error {
			if err := PullBlob(gctx, s, r.tag.Digest(b.Digest.String()), r.options); err != nil {
				return err
			}
			done(sum.Add(b.Size))
			return nil
		})
	}
	return g.Wait()
}

// PullBlob downloads a blob from a registry into a store.
func PullBlob(ctx context.Context, s *Store, at name.Digest, options []remote.Option) error {
	l, err := remote.Layer(at, append(slices.Clone(options), remote.WithContext(ctx))...)
	if err != nil {
		return err
	}
	r, err := l.Compressed()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = s.Put(ctx, digest.Digest(at.DigestStr()), r)
	return err
}

// PullImage downloads an image for a platform into a store, by a reference with a digest,
// and describes its manifest, or the index that contains it.
func PullImage(ctx context.Context, s *Store, at name.Digest, platform string, options []remote.Option, done func(bytes int64)) (ocispec.Descriptor, error) {
	options = append(slices.Clone(options), remote.WithContext(ctx))
	top := ocispec.Descriptor{Digest: digest.Digest(at.DigestStr())}
	var m ocispec.Manifest
	for child := at; ; {
		got, err := remote.Get(child, options...)
		if err != nil {
			return top, err
		}
		if _, err := s.Put(ctx, digest.Digest(got.Digest.String()), bytes.NewReader(got.Manifest)); err != nil {
			return top, err
		}
		if child == at {
			top.MediaType, top.Size = string(got.MediaType), got.Size
		}
		if !got.MediaType.IsIndex() {
			if err := json.Unmarshal(got.Manifest, &m); err != nil {
				return top, err
			}
			break
		}
		var index ocispec.Index
		if err := json.Unmarshal(got.Manifest, &index); err != nil {
			return top, err
		}
		d, ok := PlatformOf(index, platform)
		if !ok || child != at {
			return top, fmt.Errorf("the index has no image for %s", platform)
		}
		child = at.Context().Digest(d.Digest.String())
	}
	var sum int64
	for _, b := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if !s.Has(b.Digest) {
			if err := PullBlob(ctx, s, at.Context().Digest(b.Digest.String()), options); err != nil {
				return top, err
			}
		}
		sum += b.Size
		done(sum)
	}
	return top, nil
}
