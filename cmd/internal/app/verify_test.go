package app

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/llorch/llorch-bk/fixtures/published"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/buildkit"
)

// in is an image in a registry of the test's own.
type in struct {
	tag, digest string
	// manifest is the platform's.
	manifest string
	blobs    *spoilt
}

// spoilt is a store whose blobs somebody can change behind the registry's back.
type spoilt struct {
	registry.BlobHandler
	changed map[string][]byte
}

func (s *spoilt) Get(ctx context.Context, repo string, h v1.Hash) (io.ReadCloser, error) {
	if data, ok := s.changed[h.String()]; ok {
		return io.NopCloser(strings.NewReader(string(data))), nil
	}
	return s.BlobHandler.Get(ctx, repo, h)
}

func (s *spoilt) Put(ctx context.Context, repo string, h v1.Hash, r io.ReadCloser) error {
	return s.BlobHandler.(registry.BlobPutHandler).Put(ctx, repo, h, r)
}

func pushImage(t *testing.T, p *published.Image) in {
	t.Helper()
	blobs := &spoilt{registry.NewInMemoryBlobHandler(), map[string][]byte{}}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true), registry.WithBlobHandler(blobs)))
	t.Cleanup(server.Close)
	tag, err := name.NewTag(strings.TrimPrefix(server.URL, "http://") + "/llama:x")
	if err != nil {
		t.Fatal(err)
	}
	index := p.Index(t)
	if err := remote.WriteIndex(tag, index); err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := p.Written.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return in{tag.String(), digest.String(), manifest.String(), blobs}
}

// A registry of a network's own authority is trusted where the user names that.
func TestVerifyTrustsANetworksAuthority(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	tag, err := name.NewTag(strings.TrimPrefix(server.URL, "https://") + "/llama:x")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(tag, published.Good(t).Index(t), remote.WithTransport(server.Client().Transport)); err != nil {
		t.Fatal(err)
	}
	opt := checkOnly(tag.String())
	_, err = quiet(nil).Verify(t.Context(), opt)
	wantFault(t, err, fault.Machine, "certificate")
	opt.CACert = write(t, "ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	if _, err := quiet(nil).Verify(t.Context(), opt); err != nil {
		t.Error(err)
	}
}

func quiet(env map[string]string) *App {
	return &App{Out: io.Discard, Err: io.Discard, Progress: "quiet", Getenv: func(name string) string {
		if name == "DOCKER_HOST" {
			return "unix:///nonexistent/docker.sock"
		}
		return env[name]
	}}
}

func checkOnly(image string) VerifyOptions {
	return VerifyOptions{Image: image, NoRebuild: true, BuildOptions: BuildOptions{Request: images.Request{Platform: "linux/amd64"}, Builder: buildkit.Auto}}
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func whats(v Verification) []string {
	var out []string
	for _, c := range v.Checks {
		out = append(out, strings.TrimSpace(c.What+" "+c.Name))
	}
	return out
}

func TestVerifyChecks(t *testing.T) {
	t.Parallel()
	image := pushImage(t, published.Good(t))
	v, err := quiet(nil).Verify(t.Context(), checkOnly(image.tag))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(whats(v), ", "); got != "manifest, config, layer packages, layer app, SBOM, device code, provenance" {
		t.Errorf("checked %s", got)
	}
	if v.Image != image.manifest || v.Same != nil || v.Rebuilt != "" || v.Unchecked != 0 {
		t.Errorf("%+v", v)
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	spoiltLayer := pushImage(t, published.Good(t))
	other := published.Good(t)
	other.Subject = strings.Repeat("2", 64)
	layers, err := published.Good(t).Layers(t)
	if err != nil {
		t.Fatal(err)
	}
	spoiltLayer.blobs.changed[layers[1].Digest.String()] = make([]byte, layers[1].Size)
	for name, c := range map[string]struct {
		image string
		class fault.Class
		want  []string
	}{
		"a changed layer":           {spoiltLayer.tag, fault.Build, []string{"failed verification", "layer app (" + layers[1].Digest.String()}},
		"another image's statement": {pushImage(t, other).tag, fault.Build, []string{"failed verification", "SBOM (", "its subject is"}},
		"no registry":               {"127.0.0.1:1/llama:x", fault.Machine, []string{"cannot read 127.0.0.1:1/llama:x from its registry", "check the network"}},
		"no image":                  {strings.TrimSuffix(spoiltLayer.tag, "x") + "y", fault.Machine, []string{"from its registry", "check the name and the tag"}},
		"no name":                   {"A B", fault.Usage, []string{"is neither a file nor an image name"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := quiet(nil).Verify(t.Context(), checkOnly(c.image))
			wantFault(t, err, c.class, c.want...)
		})
	}
	arm := checkOnly(pushImage(t, published.Good(t)).tag)
	arm.Request.Platform = "linux/arm64"
	_, err = quiet(nil).Verify(t.Context(), arm)
	wantFault(t, err, fault.Usage, "exactly one image for the platform linux/arm64", "--platform")
}

func wantFault(t *testing.T, err error, class fault.Class, want ...string) {
	t.Helper()
	if err == nil || fault.ClassOf(err) != class {
		t.Fatalf("got class %d: %v, want %d", fault.ClassOf(err), err, class)
	}
	for _, w := range want {
		if !strings.Contains(fault.Report(err), w) {
			t.Errorf("no %q in:\n%s", w, fault.Report(err))
		}
	}
}
