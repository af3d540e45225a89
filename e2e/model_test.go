package e2e

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/hub"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
)

// TestFixtureModelStore tests a model's life: pulled by its quantisation, listed, served,
// damaged, repaired, and removed, but not while a pool serves it.
func TestFixtureModelStore(t *testing.T) {
	p := fixture(t)
	h, data := p.hub()

	path := strings.TrimSpace(p.must("model", "pull", "hf:org/tiny").stdout)
	if got, err := os.ReadFile(path); err != nil || len(got) != len(data) {
		t.Fatalf("pull printed %q: %v", path, err)
	}
	p.run("model", "pull", "hf:org/tiny:Q4_0").wants(t, 5, "no model quantised as Q4_0", "Q8_0")

	// Events for a program on stderr, the result on stdout.
	r := p.must("model", "pull", "hf:org/tiny:q8_0", "--json")
	var pulled struct{ Path, SHA256, Commit string }
	if err := json.Unmarshal([]byte(r.stdout), &pulled); err != nil || pulled.Path != path || pulled.Commit != h.Commit("org/tiny") || len(pulled.SHA256) != 64 {
		t.Errorf("%v: %s", err, r)
	}
	for line := range strings.Lines(r.stderr) {
		if !json.Valid([]byte(line)) {
			t.Errorf("an event is no JSON: %s", line)
		}
	}

	p.must("run", fixtureTag, "--model", "hf:org/tiny:Q8_0")
	var all []struct {
		Ref  string
		Size int64
		By   []string
		Info struct{ Architecture string }
	}
	if err := json.Unmarshal([]byte(p.must("model", "ls", "--json").stdout), &all); err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || all[0].Size != int64(len(data)) || all[0].Info.Architecture != "llama" || len(all[0].By) != 1 || all[0].By[0] != p.handoffDir() {
		t.Errorf("the list is %+v", all)
	}
	if text := p.must("model", "ls").stdout; !strings.Contains(text, "llama") || !strings.Contains(text, "hf:org/tiny@") {
		t.Errorf("the list is\n%s", text)
	}

	// Served, it stays, whoever wants it gone.
	p.run("model", "rm", "hf:org/tiny").wants(t, 2, "in use", "llorch-bk stop default")
	if r := p.must("model", "gc", "--keep", "0", "--yes"); !strings.Contains(r.stdout, "nothing to remove") {
		t.Errorf("gc: %s", r)
	}
	p.must("stop")

	blob, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	spoilt := append([]byte(nil), data...)
	spoilt[len(spoilt)-1] ^= 1
	if err := os.WriteFile(blob, spoilt, 0o600); err != nil {
		t.Fatal(err)
	}
	p.run("model", "verify").wants(t, 5, "hashes to", "--repair")
	p.must("model", "verify", "--repair")
	p.must("model", "verify")
	if got, err := os.ReadFile(path); err != nil || got[len(got)-1] != data[len(data)-1] {
		t.Errorf("it was not repaired: %v", err)
	}

	p.run("model", "gc", "--keep", "lots").wants(t, 2, "must be a size")
	p.run("model", "gc", "--keep", "0").wants(t, 2, "--yes")
	if r := p.must("model", "gc", "--keep", "0", "--dry-run"); !strings.Contains(r.stdout, "would remove hf:org/tiny@") {
		t.Errorf("gc --dry-run: %s", r)
	}
	p.must("model", "rm", "hf:org/tiny")
	if r := p.must("model", "ls"); !strings.Contains(r.stdout, "no model") {
		t.Errorf("after rm: %s", r)
	}
	p.run("model", "rm", "hf:org/tiny").wants(t, 2, "model ls")
	p.leftNothing()
}

// TestFixtureModelCommits has a repository get commits: one that leaves the model alone
// leaves its server alone, and one that changes the model replaces it.
func TestFixtureModelCommits(t *testing.T) {
	p := fixture(t)
	h, data := p.hub()
	p.must("run", fixtureTag, "--model", "hf:org/tiny:Q8_0")
	before, _ := p.handoff("default")
	h.AddPlain("org/tiny", "README.md", []byte("# news"))
	p.must("run", fixtureTag, "--model", "hf:org/tiny:Q8_0")
	if after, _ := p.handoff("default"); after.Container.ID != before.Container.ID {
		t.Errorf("a commit that leaves the model alone made %s of %s", after.Container.ID, before.Container.ID)
	}
	changed := append([]byte(nil), data...)
	changed[len(changed)-1] ^= 1
	h.Add("org/tiny", "tiny-Q8_0.gguf", changed)
	p.must("run", fixtureTag, "--model", "hf:org/tiny:Q8_0")
	if after, _ := p.handoff("default"); after.Container.ID == before.Container.ID {
		t.Errorf("another model is served by %s", after.Container.ID)
	}
	p.must("stop")
	p.leftNothing()
}

// TestFixtureRegistryModel serves a model from a container registry, and repairs and
// removes it by the names that it has.
func TestFixtureRegistryModel(t *testing.T) {
	p := fixture(t)
	data, err := os.ReadFile(p.model())
	if err != nil {
		t.Fatal(err)
	}
	reg := newRegistry(t)
	p.setenv("DOCKER_CONFIG", t.TempDir())
	at := reg.host + "/ai/tiny:Q8_0"
	const kind types.MediaType = "application/vnd.docker.ai.gguf.v3"
	artifact, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{Layer: static.NewLayer(data, kind), MediaType: kind})
	if err != nil {
		t.Fatal(err)
	}
	ref := write(t, at, artifact)
	digest, err := artifact.Digest()
	if err != nil {
		t.Fatal(err)
	}

	p.must("run", fixtureTag, "--model", "oci://"+at)
	h, ok := p.handoff("default")
	if !ok || h.Model.ID != "oci://"+at || filepath.Base(h.Model.Path) != "tiny.gguf" {
		t.Errorf("the handoff is %v %+v", ok, h.Model)
	}
	p.must("stop")
	pinned := "oci://" + ref.Context().Name() + "@" + digest.String()
	if r := p.must("model", "ls"); !strings.Contains(r.stdout, pinned) {
		t.Errorf("the list has no %s: %s", pinned, r)
	}
	blob, err := filepath.EvalSymlinks(h.Model.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(blob, append([]byte("GGUF"), make([]byte, len(data)-4)...), 0o600); err != nil {
		t.Fatal(err)
	}
	p.run("model", "verify", pinned).wants(t, 5, "hashes to", "--repair")
	p.must("model", "verify", "--repair")
	p.must("model", "verify", "oci://"+at)
	p.must("model", "rm", "oci://"+at)
	if r := p.must("model", "ls"); !strings.Contains(r.stdout, "no model") {
		t.Errorf("after rm: %s", r)
	}
	p.leftNothing()
}

// TestFixtureModelOfAnAuthority downloads a model from a server with a certificate of a
// private authority, which only --ca-cert makes trusted.
func TestFixtureModelOfAnAuthority(t *testing.T) {
	p := fixture(t)
	model := p.model()
	srv := httptest.NewUnstartedServer(http.FileServer(http.Dir(filepath.Dir(model))))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	file := filepath.Join(p.dir, "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	repo := gitrepo.New(t, tinyengine.Tree())
	up := []string{"up", "--source", repo.Dir, "--model", srv.URL + "/" + filepath.Base(model)}
	p.run(up...).wants(t, 5, "certificate")
	if h, ok := p.handoff("default"); ok {
		t.Errorf("a handoff was written: %+v", h)
	}
	p.must(append(up, "--ca-cert", file)...)
	h, ok := p.handoff("default")
	if !ok || h.Model.ID != srv.URL+"/"+filepath.Base(model) {
		t.Errorf("the handoff is %v %+v", ok, h.Model)
	}
	p.must("stop")
	if h.Image.Ref != fixtureTag {
		removeImages(t, p.api, h.Image.Ref)
	}
	p.leftNothing()
}

// write puts an image or an artifact into a registry under a name.
func write(t *testing.T, to string, img v1.Image) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(to)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	return ref
}

// TestFixtureStoreTrouble checks that a store that is not writable is reported before anything
// is downloaded.
func TestFixtureStoreTrouble(t *testing.T) {
	p := fixture(t)
	if os.Geteuid() == 0 {
		// Root may write anywhere but into a file.
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		p.setenv("LLORCH_MODEL_DIR", filepath.Join(file, "models"))
	} else {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o500); err != nil { //nolint:gosec // a folder
			t.Fatal(err)
		}
		p.setenv("LLORCH_MODEL_DIR", filepath.Join(dir, "models"))
	}
	h := hub.New(t)
	data, err := os.ReadFile(p.model())
	if err != nil {
		t.Fatal(err)
	}
	h.Add("org/tiny", "tiny.gguf", data)
	p.setenv("HF_ENDPOINT", h.Endpoint())
	p.run("model", "pull", "hf:org/tiny/tiny.gguf").wants(t, 5, "LLORCH_MODEL_DIR")
	if h.Sent() > 0 {
		t.Errorf("%d bytes were fetched for a store that cannot be written", h.Sent())
	}
}
