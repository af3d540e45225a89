package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/testbase"
)

// withUI adds a web UI to a tree that is built from one package of npm's, which a server
// of the test's own has.
func withUI(t *testing.T, repo *gitrepo.Repo) *gitrepo.Repo {
	t.Helper()
	pack := npmPackage(t, map[string]string{"package.json": `{"name": "greeting", "version": "1.0.0", "main": "index.js"}`, "index.js": `module.exports = "hello";`})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/greeting/-/greeting-1.0.0.tgz" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(pack)
	}))
	t.Cleanup(server.Close)
	sum := sha512.Sum512(pack)
	repo.Commit("a web UI", map[string]string{
		"scripts/ui-assets.cmake": "# SRC_DIST_DIR\n",
		"tools/ui/.npmrc":         "audit=false\n",
		"tools/ui/package.json":   `{"name": "ui", "version": "1.0.0", "scripts": {"build": "node build.js"}, "dependencies": {"greeting": "1.0.0"}}`,
		"tools/ui/build.js":       `const fs = require("fs"); fs.mkdirSync("dist"); fs.writeFileSync("dist/index.html", require("greeting"));`,
		"tools/ui/package-lock.json": fmt.Sprintf(`{"name": "ui", "version": "1.0.0", "lockfileVersion": 3, "requires": true, "packages": {
  "": {"name": "ui", "version": "1.0.0", "dependencies": {"greeting": "1.0.0"}},
  "node_modules/greeting": {"version": "1.0.0", "resolved": "%s/greeting/-/greeting-1.0.0.tgz", "integrity": "sha512-%s"}}}`, server.URL, base64.StdEncoding.EncodeToString(sum[:])),
	})
	return repo
}

// npmPackage is a package as npm's registry has it.
func npmPackage(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	packed := gzip.NewWriter(&out)
	w := tar.NewWriter(packed)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: "package/" + name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// registryBase is the test's base in a registry of the test's own, in an index with an
// image of another platform, as registries have official images.
func registryBase(t *testing.T, p *project) string {
	t.Helper()
	saved, err := p.api.ImageSave(t.Context(), []string{testbase.Tag(t, p.api)})
	if err != nil {
		t.Fatal(err)
	}
	defer saved.Close()
	file := filepath.Join(t.TempDir(), "base.tar")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, saved); err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
		mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	server := newRegistry(t)
	ref, err := name.ParseReference(server.host+"/debian:test", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	return ref.Name()
}

// cacheWithBases is a cache folder that has nothing but the bases of this machine.
func cacheWithBases(t *testing.T) string {
	t.Helper()
	// It may not be deep, since a socket's path is short.
	cache, err := os.MkdirTemp("", "llc-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(cache) })
	linkBases(t, cache)
	return cache
}
