package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
)

// pull is an index in a registry on loopback, with its images by their architecture.
func pull(t *testing.T, tag string) (v1.ImageIndex, map[string]v1.Image) {
	t.Helper()
	ref, err := name.ParseReference(tag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	byArch := map[string]v1.Image{}
	for _, m := range manifest.Manifests {
		if m.Platform == nil || m.Platform.OS != "linux" {
			continue
		}
		if byArch[m.Platform.Architecture], err = index.Image(m.Digest); err != nil {
			t.Fatal(err)
		}
	}
	return index, byArch
}

// TestFixtureIndex checks that one command makes an index of two platforms, that the other
// platform's image runs there, and that a lock of both gives the same index each time.
func TestFixtureIndex(t *testing.T) {
	p := fixture(t)
	if foreign == "" {
		t.Skipf("images are not built for %s", runtime.GOARCH)
	}
	d := standalone(t)
	bare := p.bare(t)
	reg := newRegistry(t)
	tag := reg.host + "/llama:index"
	repo := gitrepo.New(t, tinyengine.Tree())
	metadata := filepath.Join(p.dir, "metadata.json")
	args := []string{"build", "--builder", d.Addr, "--source", repo.Dir, "--ref", "HEAD", "--platform", "linux/arm64,linux/amd64", "--push", "--tag", tag, "--metadata-file", metadata, "--progress", "plain"}

	r := bare.must(args...)
	index, byArch := pull(t, tag)
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.stdout, "pushed "+tag+"@"+digest.String()) {
		t.Errorf("the registry has %s, and the program says:\n%s", digest, r.stdout)
	}
	if len(byArch) != 2 {
		t.Fatalf("the index has images for %d platforms", len(byArch))
	}
	if !strings.Contains(r.stderr, "the server's start was not checked") && !strings.Contains(r.stderr, "the server starts in the image (linux/"+foreign+")") {
		t.Errorf("nothing is said of the start of linux/%s:\n%s", foreign, tail(r.stderr, 60))
	}
	for arch, img := range byArch {
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Architecture != arch {
			t.Errorf("the image of %s says that it is for %s", arch, config.Architecture)
		}
		root := unpacked(t, img)
		ofMachine(t, root, arch)
		if arch != foreign {
			continue
		}
		if said := emulated(t, arch, root, "app/llama-server", "--version"); !strings.Contains(said, repo.Head()[:7]) {
			t.Errorf("the server says %q, without the commit %s", said, repo.Head()[:7])
		}
	}
	stated(t, index, 2*3)
	for arch := range byArch {
		bare.must("verify", "--no-rebuild", "--platform", "linux/"+arch, tag)
	}

	// Both are there: nothing is compiled again.
	bare.must(args...)
	var again struct {
		Plans []struct{ Platform string }
		Steps []struct {
			Kind, Part, Platform string
			Cached               bool
		}
	}
	readJSON(t, metadata, &again)
	if len(again.Plans) != 2 || again.Plans[0].Platform != "linux/amd64" {
		t.Errorf("it has planned %+v", again.Plans)
	}
	parts := map[string]int{}
	for _, s := range again.Steps {
		if s.Kind != "compile" {
			continue
		}
		if parts[s.Platform]++; !s.Cached {
			t.Errorf("compiled %s again for %q", s.Part, s.Platform)
		}
	}
	if parts[""] == 0 || parts["linux/"+foreign] != parts[""] {
		t.Errorf("steps by platform: %v", parts)
	}

	lockedIndex(t, bare, d.Addr, repo)
}

// stated checks that an index has this many attestations, each about one of its images.
func stated(t *testing.T, index v1.ImageIndex, want int) {
	t.Helper()
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for _, m := range manifest.Manifests {
		if m.Annotations["vnd.docker.reference.type"] != "attestation-manifest" {
			continue
		}
		about := m.Annotations["vnd.docker.reference.digest"]
		if !slices.ContainsFunc(manifest.Manifests, func(m v1.Descriptor) bool { return m.Digest.String() == about }) {
			t.Errorf("statements are about %s, which is not here", about)
		}
		img, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		got += len(layers)
	}
	if got != want {
		t.Errorf("%d statements, want %d", got, want)
	}
}

// lockedIndex checks that a lock of two platforms gives one index, with packages for each:
// the builder's for compiling, the image's for running.
func lockedIndex(t *testing.T, p *project, builder string, repo *gitrepo.Repo) {
	t.Helper()
	const both = "linux/amd64,linux/arm64"
	p.must("lock", "--builder", builder, "--source", repo.Dir, "--ref", "HEAD", "--no-ui", "--platform", both)
	var lock struct {
		Platforms map[string]struct {
			Builder  string
			Packages struct {
				Toolchain, Runtime []struct{ Name, Architecture string }
			}
		}
	}
	readJSON(t, filepath.Join(p.dir, "llorch.lock"), &lock)
	on := lock.Platforms["linux/"+foreign]
	if on.Builder != "linux/"+runtime.GOARCH || lock.Platforms["linux/"+runtime.GOARCH].Builder != "" {
		t.Errorf("the lock's builders: %+v", lock.Platforms)
	}
	for _, pkg := range on.Packages.Runtime {
		if pkg.Architecture != foreign && pkg.Architecture != "all" {
			t.Errorf("the image of %s has %s of %s", foreign, pkg.Name, pkg.Architecture)
		}
	}
	for _, pkg := range on.Packages.Toolchain {
		if pkg.Architecture != runtime.GOARCH && pkg.Architecture != "all" {
			t.Errorf("the toolchain has %s of %s", pkg.Name, pkg.Architecture)
		}
	}
	lockFile := filepath.Join(p.dir, "llorch.lock")
	first := p.archived(builder, lockFile, nil, "--platform", both)
	if again := p.archived(builder, lockFile, nil, "--platform", both, "--no-cache"); again != first {
		t.Errorf("one lock gave %s and %s", first, again)
	}
	p.must("lock", "--check", "--builder", builder, "--source", repo.Dir, "--ref", "HEAD", "--no-ui", "--platform", both)
}

// TestFixtureForeignImage checks that an engine loads an image for another platform, and that
// a run of it is refused.
func TestFixtureForeignImage(t *testing.T) {
	p := fixture(t)
	if foreign == "" {
		t.Skipf("images are not built for %s", runtime.GOARCH)
	}
	repo := gitrepo.New(t, tinyengine.Tree())
	const tag = "llorch-e2e:foreign"
	t.Cleanup(func() { removeImages(t, p.api, tag) })
	p.must("build", "--source", repo.Dir, "--ref", "HEAD", "--platform", "linux/"+foreign, "--no-ui", "--tag", tag)
	info, err := p.api.ImageInspect(t.Context(), tag)
	if err != nil {
		t.Fatal(err)
	}
	if info.Architecture != foreign {
		t.Errorf("the image is for %s", info.Architecture)
	}
	p.run("run", tag, "--model", p.model()).wants(t, 3, "is for linux/"+foreign, "the engine runs linux/"+runtime.GOARCH)
	p.run("up", "--source", repo.Dir, "--ref", "HEAD", "--platform", "linux/"+foreign, "--model", p.model()).wants(t, 3, "is for linux/"+foreign)
	p.leftNothing()
	p.run("build", "--source", repo.Dir, "--ref", "HEAD", "--platform", "linux/"+foreign, "--variant", "vulkan").wants(t, 2, "cannot be compiled on linux/"+runtime.GOARCH)
}

// TestRealCross compiles llama.cpp for the other architecture and lets the server print its
// version.
func TestRealCross(t *testing.T) {
	gate(t, "LLORCH_E2E_REAL", "real")
	if foreign == "" {
		t.Skipf("images are not built for %s", runtime.GOARCH)
	}
	level := map[string]string{"amd64": "x86-64-v3", "arm64": "armv8.2-a"}[foreign]
	p := newProject(t)
	d := standalone(t)
	reg := newRegistry(t)
	tag := reg.host + "/llama:cross"
	p.must(append([]string{"build", "--builder", d.Addr, "--platform", "linux/" + foreign, "--cpu", level, "--no-ui", "--push", "--attest=false", "--tag", tag}, realSource(t)...)...)
	ref, err := name.ParseReference(tag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: foreign}))
	if err != nil {
		t.Fatal(err)
	}
	root := unpacked(t, img)
	ofMachine(t, root, foreign)
	said := emulated(t, foreign, root, "app/llama-server", "--version")
	if !strings.Contains(said, "version") || !strings.Contains(said, machines[foreign].qemu[len("qemu-"):]) {
		t.Errorf("the server says %q", said)
	}
	t.Log(said)
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
