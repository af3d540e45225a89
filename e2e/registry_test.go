package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
)

// store is a registry of a test's own, whose blobs and manifests the test can change.
type store struct {
	host  string
	blobs *blobs
}

// blobs are a registry's; some are not what they are called.
type blobs struct {
	registry.BlobHandler
	mu      sync.Mutex
	changed map[string][]byte
}

func (b *blobs) set(digest string, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changed[digest] = data
}

// Get gives what was changed first.
func (b *blobs) Get(ctx context.Context, repo string, h v1.Hash) (io.ReadCloser, error) {
	b.mu.Lock()
	data := b.changed[h.String()]
	b.mu.Unlock()
	if data != nil {
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	return b.BlobHandler.Get(ctx, repo, h)
}

// Put keeps a blob.
func (b *blobs) Put(ctx context.Context, repo string, h v1.Hash, r io.ReadCloser) error {
	return b.BlobHandler.(registry.BlobPutHandler).Put(ctx, repo, h, r)
}

func newRegistry(t *testing.T) *store {
	t.Helper()
	b := &blobs{BlobHandler: registry.NewInMemoryBlobHandler(), changed: map[string][]byte{}}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true), registry.WithBlobHandler(b)))
	t.Cleanup(server.Close)
	return &store{strings.TrimPrefix(server.URL, "http://"), b}
}

// get is a registry's API, in the plainest way.
func (s *store) get(t *testing.T, format string, args ...any) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.host+"/v2/"+fmt.Sprintf(format, args...), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s %v: %s", req.URL, resp.Status, err, data)
	}
	return data
}

// put writes to it, and gives the digest.
func (s *store) put(t *testing.T, kind, url string, data []byte) v1.Hash {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+s.host+"/v2/"+url, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("PUT %s: %s", req.URL, resp.Status)
	}
	h, _, err := v1.SHA256(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// putBlob keeps a blob, and changes its descriptor.
func (s *store) putBlob(t *testing.T, repo string, d *v1.Descriptor, data []byte) {
	t.Helper()
	sum := digest.FromBytes(data)
	s.put(t, "application/octet-stream", repo+"/blobs/uploads/1?digest="+sum.String(), data)
	d.Digest, d.Size = v1.Hash{Algorithm: "sha256", Hex: sum.Encoded()}, int64(len(data))
}

// putManifest keeps a manifest under a name, or under its digest where it has none.
func (s *store) putManifest(t *testing.T, repo, name, kind string, m any) v1.Descriptor {
	t.Helper()
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if name == "" {
		name = digest.FromBytes(data).String()
	}
	return v1.Descriptor{Digest: s.put(t, kind, repo+"/manifests/"+name, data), Size: int64(len(data))}
}

// signed are the predicate types of what is signed beside an image.
func (s *store) signed(t *testing.T, repo, digest string) []string {
	t.Helper()
	var index v1.IndexManifest
	if err := json.Unmarshal(s.get(t, "%s/referrers/%s", repo, digest), &index); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range index.Manifests {
		var m v1.Manifest
		if err := json.Unmarshal(s.get(t, "%s/manifests/%s", repo, d.Digest), &m); err != nil {
			t.Fatal(err)
		}
		if kind := m.Annotations["dev.sigstore.bundle.predicateType"]; kind != "" {
			out = append(out, kind)
		}
	}
	return out
}

// pulled is an image with what its index states about it.
type pulled struct {
	repo string
	// root and manifest are the digests of the index and of the platform's manifest.
	root, manifest string
	index          v1.IndexManifest
	// layers are the image's by the names in its history; files are those in all of them.
	layers map[string]v1.Descriptor
	files  map[string][]byte
	// statements are predicates by their types.
	statements map[string]json.RawMessage
}

// pull reads all of an image.
func (s *store) pull(t *testing.T, repo, tag string) pulled {
	t.Helper()
	raw := s.get(t, "%s/manifests/%s", repo, tag)
	p := pulled{repo: repo, root: digest.FromBytes(raw).String(), layers: map[string]v1.Descriptor{}, files: map[string][]byte{}, statements: map[string]json.RawMessage{}}
	if err := json.Unmarshal(raw, &p.index); err != nil {
		t.Fatal(err)
	}
	for _, d := range p.index.Manifests {
		var m v1.Manifest
		if err := json.Unmarshal(s.get(t, "%s/manifests/%s", repo, d.Digest), &m); err != nil {
			t.Fatal(err)
		}
		if d.Platform.OS == "unknown" {
			s.pullStatements(t, repo, m, p.statements)
			continue
		}
		p.manifest = d.Digest.String()
		names := s.layerNames(t, repo, m)
		for i, l := range m.Layers {
			p.layers[names[i]] = l
			untar(t, s.get(t, "%s/blobs/%s", repo, l.Digest), p.files)
		}
	}
	return p
}

func (s *store) pullStatements(t *testing.T, repo string, m v1.Manifest, into map[string]json.RawMessage) {
	t.Helper()
	for _, l := range m.Layers {
		var statement struct {
			PredicateType string
			Predicate     json.RawMessage
		}
		if err := json.Unmarshal(s.get(t, "%s/blobs/%s", repo, l.Digest), &statement); err != nil {
			t.Fatal(err)
		}
		into[statement.PredicateType] = statement.Predicate
	}
}

func (s *store) layerNames(t *testing.T, repo string, m v1.Manifest) []string {
	t.Helper()
	var config v1.ConfigFile
	if err := json.Unmarshal(s.get(t, "%s/blobs/%s", repo, m.Config.Digest), &config); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, h := range config.History {
		if !h.EmptyLayer {
			names = append(names, strings.TrimPrefix(h.CreatedBy, "[image] "))
		}
	}
	return names
}

func untar(t *testing.T, layer []byte, into map[string][]byte) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(layer))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		into[strings.TrimPrefix(path.Clean("/"+h.Name), "/")] = data
	}
}
