package audit_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb/attest"
	"github.com/llorch/llorch-bk/llb/audit"
)

const (
	commit = "0123456789abcdef0123456789abcdef01234567"
	base   = "1111111111111111111111111111111111111111111111111111111111111111"
)

var platform = v1.Platform{OS: "linux", Architecture: "amd64"}

// published is an image with statements, to be spoilt before it is written.
type published struct {
	// packages is the layer of the distribution's, app the one of llama.cpp's.
	packages, app map[string]string
	labels        map[string]string
	document      attest.Document
	code          attest.DeviceCode
	// commit and base are what the provenance has.
	commit, base, extra string
	// subject is what the statements are about; empty for the image.
	subject string
	// said are the predicate types in the manifest; by what they are.
	said map[string]string
	// reference is what the statements' manifest is said to be of; empty for the image.
	reference string
	// image is the manifest that was written.
	image v1.Image
}

func control(name, version string) string {
	return "Package: " + name + "\nVersion: " + version + "\nArchitecture: amd64\nMaintainer: Debian <d@example.org>\n"
}

// good is an image that is what it says.
func good(t *testing.T) *published {
	t.Helper()
	status := map[string][]byte{"libc6": []byte(control("libc6", "2.41-12")), "libgomp1": []byte(control("libgomp1", "14.2.0-19"))}
	packages, err := attest.DebianPackages(status, nil, "debian", "13")
	if err != nil {
		t.Fatal(err)
	}
	p := &published{
		packages: map[string]string{"usr/lib/os-release": "ID=debian\nVERSION_ID=\"13\"\n"},
		app:      map[string]string{"app/llama-server": "\x7fELF", "app/libggml-cpu.so": "\x7fELF", "app/libllama.so.0": "\x7fELF"},
		labels:   map[string]string{images.LabelCommit: commit, images.LabelCPU: "x86-64-v3"},
		document: attest.Document{
			Name: "image", Namespace: "https://example.org/spdx/1", Created: time.Unix(1, 0), Tool: "test",
			Root:     attest.Package{Kind: attest.KindImage, Name: "llama.cpp-server"},
			Packages: append(packages, attest.Package{Kind: attest.KindSource, Name: "llama.cpp", PURL: "pkg:github/ggml-org/llama.cpp@" + commit}),
		},
		code:   attest.DeviceCode{Schema: attest.DeviceCodeSchema, CPU: []string{"x86-64-v3"}},
		commit: commit, base: base, said: map[string]string{},
	}
	for name, text := range status {
		p.packages["var/lib/dpkg/status.d/"+name] = string(text)
	}
	return p
}

// lock is the lock of a good image.
func lock() *images.Lock {
	return &images.Lock{
		Source:    images.LockSource{Commit: commit},
		Platforms: map[string]images.LockPlatform{"linux/amd64": {Build: images.BaseFacts{Ref: "debian", Digest: "sha256:" + base}}},
	}
}

func layerOf(t *testing.T, files map[string]string) v1.Layer {
	t.Helper()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	w := tar.NewWriter(z)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromReader(&packed)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// write makes an OCI layout of it, with the statements in the index.
func (p *published) write(t *testing.T) string {
	t.Helper()
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	var err error
	for _, l := range []struct {
		name  string
		files map[string]string
	}{{"packages", p.packages}, {"app", p.app}} {
		img, err = mutate.Append(img, mutate.Addendum{Layer: layerOf(t, l.files), MediaType: types.OCILayer, History: v1.History{CreatedBy: "[image] " + l.name}})
		if err != nil {
			t.Fatal(err)
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config.Labels = platform.OS, platform.Architecture, p.labels
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	p.image = img
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	reference := p.reference
	if reference == "" {
		reference = digest.String()
	}
	index := mutate.IndexMediaType(mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &platform}},
		mutate.IndexAddendum{Add: p.statements(t, digest), Descriptor: v1.Descriptor{
			Platform:    &v1.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": reference},
		}}), types.OCIImageIndex)
	dir := t.TempDir()
	to, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = to.AppendIndex(index)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func (p *published) statements(t *testing.T, of v1.Hash) v1.Image {
	t.Helper()
	sbom, err := p.document.SPDX()
	if err != nil {
		t.Fatal(err)
	}
	code, err := p.code.JSON()
	if err != nil {
		t.Fatal(err)
	}
	provenance := `{"buildDefinition":{"resolvedDependencies":[
		{"uri":"pkg:docker/debian@trixie-slim","digest":{"sha256":"` + p.base + `"}},
		{"uri":"https://example.org/llama.cpp.git","digest":{"sha1":"` + p.commit + `"}}` + p.extra + `]}}`
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	for _, s := range []struct {
		kind string
		data []byte
	}{{attest.PredicateSPDX, sbom}, {attest.PredicateDeviceCode, code}, {attest.PredicateProvenance, []byte(provenance)}} {
		subject := p.subject
		if subject == "" {
			subject = of.Hex
		}
		data, err := json.Marshal(attest.Statement{
			Type: attest.StatementV1, PredicateType: s.kind, Predicate: s.data,
			Subject: []attest.Subject{{Name: "image", Digest: map[string]string{"sha256": subject}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		said := p.said[s.kind]
		if said == "" {
			said = s.kind
		}
		img, err = mutate.Append(img, mutate.Addendum{
			Layer: static.NewLayer(data, "application/vnd.in-toto+json"), MediaType: "application/vnd.in-toto+json",
			Annotations: map[string]string{"in-toto.io/predicate-type": said},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return img
}

// open reads a layout again.
func open(t *testing.T, dir string) *audit.Image {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	img, err := audit.Layout(index, platform)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// blobFile is where a layout has a blob.
func blobFile(dir string, h v1.Hash) string { return filepath.Join(dir, "blobs", h.Algorithm, h.Hex) }

// rewrite changes a file in place.
func rewrite(t *testing.T, file string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, change(bytes.Clone(data)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replaced replaces text that must be there.
func replaced(t *testing.T, old, now string) func([]byte) []byte {
	return func(data []byte) []byte {
		t.Helper()
		if !strings.Contains(string(data), old) {
			t.Fatalf("no %q in %s", old, data)
		}
		return []byte(strings.Replace(string(data), old, now, 1))
	}
}
