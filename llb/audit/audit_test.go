package audit_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/llorch/llorch-bk/fixtures/published"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb/attest"
	"github.com/llorch/llorch-bk/llb/audit"
)

func TestGood(t *testing.T) {
	t.Parallel()
	img := open(t, published.Good(t).Write(t))
	found, err := audit.Content(t.Context(), img)
	if err == nil {
		err = found.Statements(t.Context(), img, published.Lock())
	}
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range found.Checks {
		if c.Digest == "" || c.Holds == "" {
			t.Errorf("it says nothing: %+v", c)
		}
		got = append(got, strings.TrimSpace(c.What+" "+c.Name))
	}
	if want := "manifest, config, layer packages, layer app, SBOM, device code, provenance"; strings.Join(got, ", ") != want {
		t.Errorf("checked %q, want %q", strings.Join(got, ", "), want)
	}
}

// The index is what all else hangs from.
func TestIndex(t *testing.T) {
	t.Parallel()
	p := published.Good(t)
	dir := p.Write(t)
	digest, err := p.Index(t).Digest()
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, blobFile(dir, digest), replaced(t, `"schemaVersion":2`, `"schemaVersion":3`))
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	var untrue *audit.Untrue
	if _, err := audit.Layout(index, published.Platform); !errors.As(err, &untrue) || untrue.What != "index" {
		t.Errorf("got %v", err)
	}
	if _, err := audit.Layout(p.Index(t), v1.Platform{OS: "linux", Architecture: "arm64"}); err == nil {
		t.Error("an image for another platform was taken")
	}
}

// Whatever is changed after an image was made is refused by its name, however far down the
// chain of digests the change was made good.
func TestContent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string, m *v1.Manifest, img v1.Image)
		want  []string
	}{
		"a byte of a layer": {func(t *testing.T, dir string, m *v1.Manifest, _ v1.Image) {
			rewrite(t, blobFile(dir, m.Layers[1].Digest), func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, []string{"layer app (sha256:", "digest mismatch: got sha256:"}},
		"both layers": {func(t *testing.T, dir string, m *v1.Manifest, _ v1.Image) {
			for _, l := range m.Layers {
				rewrite(t, blobFile(dir, l.Digest), func(b []byte) []byte { b[20] ^= 1; return b })
			}
		}, []string{"layer packages (", "layer app ("}},
		"a longer layer": {func(t *testing.T, dir string, m *v1.Manifest, _ v1.Image) {
			rewrite(t, blobFile(dir, m.Layers[0].Digest), func(b []byte) []byte { return append(b, 0) })
		}, []string{"layer packages (", "size mismatch: "}},
		"a shorter layer": {func(t *testing.T, dir string, m *v1.Manifest, _ v1.Image) {
			rewrite(t, blobFile(dir, m.Layers[0].Digest), func(b []byte) []byte { return b[:len(b)-1] })
		}, []string{"layer packages (", "size mismatch: "}},
		"no layer": {func(t *testing.T, dir string, m *v1.Manifest, _ v1.Image) {
			if err := os.Remove(blobFile(dir, m.Layers[0].Digest)); err != nil {
				t.Fatal(err)
			}
		}, []string{"layer packages ("}},
		"the config": {func(t *testing.T, dir string, m *v1.Manifest, _ v1.Image) {
			rewrite(t, blobFile(dir, m.Config.Digest), replaced(t, "x86-64-v3", "x86-64-v4"))
		}, []string{"config (sha256:", "digest mismatch: got sha256:"}},
		"the manifest": {func(t *testing.T, dir string, _ *v1.Manifest, img v1.Image) {
			d, err := img.Digest()
			if err != nil {
				t.Fatal(err)
			}
			rewrite(t, blobFile(dir, d), replaced(t, `"schemaVersion":2`, `"schemaVersion":3`))
		}, []string{"manifest (sha256:", "digest mismatch: got sha256:"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := published.Good(t)
			dir := p.Write(t)
			m, err := p.Written.Manifest()
			if err != nil {
				t.Fatal(err)
			}
			c.spoil(t, dir, m, p.Written)
			refused(t, open(t, dir), nil, c.want...)
		})
	}
}

// refused checks that an image is not what it says, and why.
func refused(t *testing.T, img *audit.Image, lock *images.Lock, want ...string) {
	t.Helper()
	found, err := audit.Content(t.Context(), img)
	if err == nil {
		err = found.Statements(t.Context(), img, lock)
	}
	if err == nil {
		t.Fatal("it was not refused")
	}
	if audit.Broken(err) {
		t.Errorf("it is said to be out of reach: %v", err)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("no %q in:\n%v", w, err)
		}
	}
}

func TestStatements(t *testing.T) {
	t.Parallel()
	other := strings.Repeat("2", 64)
	for name, c := range map[string]struct {
		spoil func(*published.Image)
		want  []string
	}{
		"another image's":               {func(p *published.Image) { p.Subject = other }, []string{"SBOM (", "device code (", "provenance (", "its subject is sha256:" + other}},
		"of an image that is not there": {func(p *published.Image) { p.Reference = "sha256:" + other }, []string{"statements (", other, "not in the index"}},
		"of another image by its manifest": {func(p *published.Image) {
			p.Refers = &v1.Descriptor{MediaType: "x", Digest: v1.Hash{Algorithm: "sha256", Hex: other}}
		}, []string{"statements (", "their manifest says that they are about sha256:" + other}},
		"a kind that nobody knows": {func(p *published.Image) { p.Said[attest.PredicateSPDX] = "https://example.org/x" }, []string{
			"statement https://example.org/x (", "its manifest says https://example.org/x",
		}},
		"a package less in the SBOM": {func(p *published.Image) { p.Document.Packages = p.Document.Packages[1:] }, []string{"SBOM (", "it lacks libc6 2.41-12 amd64, which is in the image"}},
		"another version in the SBOM": {func(p *published.Image) {
			p.Document.Packages[0].Version = "2.41-13"
			p.Document.Packages[0].PURL = strings.Replace(p.Document.Packages[0].PURL, "2.41-12", "2.41-13", 1)
		}, []string{"SBOM (", "it lacks libc6 2.41-12", "it lists libc6 2.41-13 amd64, which is not in the image"}},
		"another name for a package URL": {func(p *published.Image) { p.Document.Packages[0].Name = "libc7" }, []string{"SBOM (", "its package URL names libc6"}},
		"a package more in the image": {func(p *published.Image) {
			p.Packages["var/lib/dpkg/status.d/evil"] = published.Control("evil", "1")
		}, []string{"SBOM (", "it lacks evil 1 amd64"}},
		"another llama.cpp in the SBOM": {func(p *published.Image) {
			p.Document.Packages[2].PURL = "pkg:github/ggml-org/llama.cpp@" + strings.Repeat("9", 40)
		}, []string{"SBOM (", "it does not name llama.cpp at commit " + published.Commit}},
		"another CPU":                 {func(p *published.Image) { p.Code.CPU = []string{"x86-64"} }, []string{"device code (", `"cpu":["x86-64"]`, `"cpu":["x86-64-v3"]`}},
		"a backend more in the image": {func(p *published.Image) { p.App["app/libggml-vulkan.so"] = "" }, []string{"device code (", `"vulkan":true`}},
		"another commit":              {func(p *published.Image) { p.Commit = strings.Repeat("a", 40) }, []string{"provenance (", "its source is commit aaaa"}},
		"another base":                {func(p *published.Image) { p.Base = other }, []string{"provenance (", "sha256:" + other + ", which is not in the lock", "it does not list the build_base, sha256:" + published.Base}},
		"a download": {func(p *published.Image) {
			p.Extra = `,{"uri":"https://example.org/x","digest":{"sha256":"` + other + `"}}`
		}, []string{"provenance (", "https://example.org/x, which is not in the lock"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := published.Good(t)
			c.spoil(p)
			refused(t, open(t, p.Write(t)), published.Lock(), c.want...)
		})
	}
}

// A statement that was changed after it was written is not its descriptor's.
func TestStatementBytes(t *testing.T) {
	t.Parallel()
	p := published.Good(t)
	dir := p.Write(t)
	entries, err := os.ReadDir(dir + "/blobs/sha256")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		file := dir + "/blobs/sha256/" + e.Name()
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(data), `{"_type"`) && strings.Contains(string(data), "SPDXRef-") {
			rewrite(t, file, replaced(t, "2.41-12", "2.41-13"))
			refused(t, open(t, dir), published.Lock(), "SBOM (sha256:"+e.Name()[:12], "digest mismatch: got sha256:")
			return
		}
	}
	t.Fatal("there is no SBOM")
}

// A layer can take away what the one below it has.
func TestWhiteouts(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"a file":   {"var/lib/dpkg/status.d/.wh.libc6": ""},
		"a folder": {"var/lib/dpkg/.wh.status.d": ""},
		"all":      {"var/lib/dpkg/status.d/.wh..wh..opq": "", "var/lib/dpkg/status.d/libgomp1": published.Control("libgomp1", "14.2.0-19")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := published.Good(t)
			for f, text := range files {
				p.App[f] = text
			}
			refused(t, open(t, p.Write(t)), nil, "it lists libc6 2.41-12")
		})
	}
}

// A source that a client sent has no commit in provenance, and nobody asks for one.
func TestSent(t *testing.T) {
	t.Parallel()
	const with = `{"buildDefinition":{"externalParameters":{"request":{"locals":[{"name":"source"}]}},"resolvedDependencies":[]}}`
	in := attest.Inputs{Commit: published.Commit, Sent: "source"}
	if err := attest.CheckProvenance([]byte(with), in); err != nil {
		t.Error(err)
	}
	if err := attest.CheckProvenance([]byte(`{"materials":[]}`), in); err == nil || !strings.Contains(err.Error(), "it does not list the source") {
		t.Errorf("%v", err)
	}
}

// What was built beside an image for another platform is no stranger to it.
func TestOtherPlatforms(t *testing.T) {
	t.Parallel()
	p := published.Good(t)
	arm := strings.Repeat("3", 64)
	p.Extra = `,{"uri":"pkg:docker/debian@trixie-slim?platform=linux%2Farm64","digest":{"sha256":"` + arm + `"}}`
	lock := published.Lock()
	refused(t, open(t, p.Write(t)), lock, arm+", which is not in the lock")
	lock.Platforms["linux/arm64"] = images.LockPlatform{Build: images.BaseFacts{Ref: "debian", Digest: "sha256:" + arm}}
	img := open(t, p.Write(t))
	found, err := audit.Content(t.Context(), img)
	if err == nil {
		err = found.Statements(t.Context(), img, lock)
	}
	if err != nil {
		t.Error(err)
	}
}

func TestBroken(t *testing.T) {
	t.Parallel()
	for _, err := range []error{&net.OpError{Op: "dial", Err: errors.New("refused")}, io.ErrUnexpectedEOF, context.Canceled} {
		if !audit.Broken(err) {
			t.Errorf("%v is said to be of the content", err)
		}
	}
	if audit.Broken(errors.New("digest mismatch: got sha256:0")) {
		t.Error("content is said to be out of reach")
	}
}
