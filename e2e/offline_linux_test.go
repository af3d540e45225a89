package e2e

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/fixtures/dockerd"
	"github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/hub"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
	"golang.org/x/sys/unix"
)

// insideVar tells the test program that it runs in a network namespace with nothing but
// loopback, and what it finds there: the file of an inside.
const insideVar = "LLORCH_E2E_INSIDE"

// inside is what is carried to a machine without a network.
type inside struct {
	// Bundle and Lock are files, Tree is a patched repository, and Image is the digest of
	// the image that the lock gives where there is a network.
	Bundle, Lock, Tree, Image string
	// Model is a ref whose model is in the bundle, and Commit the lock's.
	Model, Commit string
	// Engine says that there is to be an engine, whose programs are in a folder.
	Engine string
}

// carried makes a lock of the fixture, with a web UI and whatever flags say, and a bundle
// of it with a model. What it gives is all that is carried away.
func carried(t *testing.T, p *project, flags ...string) inside {
	t.Helper()
	builder := standalone(t)
	repo := withUI(t, gitrepo.New(t, tinyengine.Tree()))
	models := hub.New(t)
	var model strings.Builder
	if err := gguf.WriteTinyLlama(&model); err != nil {
		t.Fatal(err)
	}
	models.Add("org/tiny", "tiny-Q8_0.gguf", []byte(model.String()))
	p.setenv("HF_ENDPOINT", models.Endpoint())
	// What bundle create leaves in the cache folder is not to be found inside.
	p.setenv("LLORCH_CACHE_DIR", cacheWithBases(t))
	p.setenv("LLORCH_BUILDKITD", filepath.Join(sharedPrograms(t), "buildkitd"))
	in := inside{
		Bundle: filepath.Join(p.dir, "llama.bundle"), Lock: filepath.Join(p.dir, "llorch.lock"), Tree: repo.Dir, Model: "hf:org/tiny:Q8_0", Commit: repo.Head(),
	}
	p.must(append([]string{"lock", "--builder", builder.Addr, "--source", repo.Serve(), "--ref", repo.Head(), "--cpu", "x86-64-v3"}, flags...)...)
	in.Image = p.archived(builder.Addr, in.Lock, nil)

	p.keeps(builder.Addr, in)
	r := p.must("bundle", "create", "--builder", builder.Addr, "-o", in.Bundle, "--model", in.Model)
	for _, kind := range []string{"base", "package", "npm", "source", "builder", "model"} {
		if !strings.Contains(r.stdout, "\n  "+kind+" ") {
			t.Errorf("the bundle has no %s:\n%s", kind, r.stdout)
		}
	}
	t.Logf("%s, %.1fs", strings.TrimSpace(r.stdout), r.took.Seconds())
	repo.Git("checkout", "--quiet", "-b", "patched")
	if err := os.WriteFile(filepath.Join(repo.Dir, "common", "log.c"), []byte(edited(t, "common/log.c", "")+"int e2e_patch(void) { return 1; }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return in
}

// keeps checks that stored packages, in a folder or in a registry, are used. The image must be
// the same, and no step that installs packages may run again.
func (p *project) keeps(builder string, in inside) {
	p.t.Helper()
	reg := newRegistry(p.t)
	folder, remote := filepath.Join(p.dir, "packages"), "oci://"+reg.host+"/packages:llama"
	for _, place := range []string{folder, remote} {
		p.must("lock", "--builder", builder, "--update", "packages", "--keep", place)
		// Elsewhere, what was fetched for the registry is not at hand.
		cache := cacheWithBases(p.t)
		metadata := filepath.Join(p.dir, "kept.json")
		r := p.archivedBy(builder, in.Lock, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "LLORCH_CACHE_DIR="+cache) }, "--kept", place, "--metadata-file", metadata)
		if r.digest != in.Image {
			p.t.Errorf("with packages from %s the image is %s, and without %s", place, r.digest, in.Image)
		}
		if !strings.Contains(r.said, "packages of this machine") || strings.Contains(r.said, "packages by hash") {
			p.t.Errorf("packages were fetched, and all are kept:\n%s", tail(r.said, 60))
		}
		if parts := ran(p.t, metadata); len(parts) > 0 {
			p.t.Errorf("with packages from %s it compiled %q again", place, parts)
		}
	}
}

// enter runs this program again, in a network namespace of its own.
func enter(t *testing.T, in inside) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "inside.json")
	data, err := json.Marshal(in)
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run", "^TestInsideANamespace$", "-test.v", "-test.timeout", "20m")
	cmd.Env = append(os.Environ(), insideVar+"="+file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	out, err := cmd.CombinedOutput()
	t.Logf("inside:\n%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// TestFixtureOffline checks that a machine with only a bundle builds the lock's image, equal to
// the one built with a network, and a patched tree.
func TestFixtureOffline(t *testing.T) {
	p := fixture(t)
	enter(t, carried(t, p))
}

// TestModernOffline checks that such a machine also runs the server.
func TestModernOffline(t *testing.T) {
	gate(t, "LLORCH_E2E_MODERN", "modern")
	p := fixture(t)
	in := carried(t, p, "--base", registryBase(t, p))
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	in.Engine = filepath.Join(cache, "llorch-bk", "programs")
	enter(t, in)
}

// TestInsideANamespace is the other half of TestFixtureOffline and TestModernOffline.
func TestInsideANamespace(t *testing.T) {
	file := os.Getenv(insideVar)
	if file == "" {
		t.Skip("is run by the tests of offline builds")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var in inside
	if err := json.Unmarshal(data, &in); err != nil {
		t.Fatal(err)
	}
	onlyLoopback(t)
	cache, err := os.MkdirTemp("", "llc-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(cache) })
	p := &project{t: t, dir: t.TempDir()}
	p.env = append(os.Environ(), "LLORCH_CACHE_DIR="+cache, "LLORCH_MODEL_DIR="+t.TempDir(), "NO_COLOR=1", "DOCKER_HOST=unix:///nonexistent/docker.sock", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	p.loads(in)
	p.buildsOffline(in)
	if in.Engine != "" {
		p.runsOffline(in)
	}
}

// onlyLoopback checks that the namespace has only loopback.
func onlyLoopback(t *testing.T) {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagUp != 0 {
			t.Fatalf("there is the interface %s", i.Name)
		}
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	up, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	up.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, up); err != nil {
		t.Fatal(err)
	}
	if c, err := net.DialTimeout("tcp", "192.0.2.1:80", time.Second); err == nil {
		c.Close()
		t.Fatal("there is a network")
	}
}

// loads checks that a damaged bundle is refused, and that without a bundle every missing part is
// named.
func (p *project) loads(in inside) {
	p.t.Helper()
	archive := filepath.Join(p.dir, "image.tar")
	build := []string{"build", "--builder", "managed", "--output", archive}
	p.run(append(build, "--offline")...).wants(p.t, 3, "no bundle for linux/", "bundle load")
	p.run(append(build, "--offline="+in.Lock)...).wants(p.t, 3, "things are not on this machine", "the source, commit "+in.Commit, "the package cmake ", "npm packages", "the base ")
	whole, err := os.ReadFile(in.Bundle)
	if err != nil {
		p.t.Fatal(err)
	}
	for name, data := range map[string][]byte{"cut": whole[:len(whole)*2/3], "changed": append(append(append([]byte{}, whole[:len(whole)/2]...), whole[len(whole)/2]+1), whole[len(whole)/2+1:]...)} {
		file := filepath.Join(p.dir, name+".bundle")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			p.t.Fatal(err)
		}
		p.run("bundle", "load", file).wants(p.t, 2, "is damaged", "blob sha256:")
		p.run(append(build, "--offline")...).wants(p.t, 3, "no bundle for linux/")
		os.Remove(file)
	}
	r := p.must("bundle", "load", in.Bundle)
	p.t.Logf("loaded in %.1fs", r.took.Seconds())
	if _, err := os.Stat(archive); err == nil {
		p.t.Error("an image was written")
	}
}

// buildsOffline checks that the lock's image equals the one built with a network, and that a
// patched tree is built, with the builder in the bundle.
func (p *project) buildsOffline(in inside) {
	p.t.Helper()
	p.t.Cleanup(func() {
		if r := p.run("prune", "builders", "--yes"); r.code != 0 {
			p.t.Errorf("clean-up: %s", r)
		}
	})
	archive := filepath.Join(p.dir, "image.tar")
	r := p.must("build", "--offline", "--builder", "managed", "--output", archive, "--attest=false")
	p.t.Logf("built in %.1fs", r.took.Seconds())
	if !strings.Contains(r.stdout, in.Image) {
		p.t.Errorf("without a network the image is another: %s, want %s", r.stdout, in.Image)
	}
	if !strings.Contains(r.stderr, "take buildkitd out of a bundle") {
		p.t.Errorf("where is the builder from? %s", tail(r.stderr, 40))
	}
	metadata := filepath.Join(p.dir, "metadata.json")
	r = p.must("build", "--offline", "--builder", "managed", "--source", in.Tree, "--output", archive, "--metadata-file", metadata)
	if strings.Contains(r.stdout, in.Image) {
		p.t.Error("the patched tree gave the lock's own image")
	}
	if parts := ran(p.t, metadata); !slices.Equal(parts, []string{"common", "llama-server"}) {
		p.t.Errorf("for a patch in common it compiled %q", parts)
	}
}

// runsOffline checks that a server starts with the bundle's model, on a private engine.
func (p *project) runsOffline(in inside) {
	p.t.Helper()
	dir, err := os.MkdirTemp("", "dockerd-")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { os.RemoveAll(dir) })
	d, err := dockerd.Start(p.t.Context(), in.Engine, dir)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(d.Remove)
	if p.api, err = client.NewClientWithOpts(client.WithHost(d.Host), client.WithAPIVersionNegotiation()); err != nil {
		p.t.Fatal(err)
	}
	p.setenv("DOCKER_HOST", d.Host)
	p.run("up", "--offline", "--model", "hf:org/another:Q8_0").wants(p.t, 5, "offline")
	p.leftNothing()
	for _, flags := range [][]string{nil, {"--source", in.Tree}} {
		r := p.must(append([]string{"up", "--offline", "--model", in.Model}, flags...)...)
		h, ok := p.handoff("default")
		if !ok || !strings.HasPrefix(h.Commit, in.Commit) || h.Model.ID != in.Model {
			p.t.Errorf("the handoff: %+v, %v", h, ok)
		}
		if code, body := get(p.t, h.URL+"/health"); code != 200 {
			p.t.Errorf("/health: %d %s", code, body)
		}
		p.t.Logf("up %q in %.1fs", flags, r.took.Seconds())
	}
	p.must("stop", "--all", "--grace", "1s")
}
