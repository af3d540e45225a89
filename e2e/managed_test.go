package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/fixtures/buildkitd"
	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
)

// managed is a project with its own managed builder, because it has its own cache folder,
// except for the bases. The folder's path must be short, because a socket's path is limited.
func managed(t *testing.T) (p *project, programs string) {
	t.Helper()
	p = newProject(t)
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("a builder of our own needs Linux and root")
	}
	// The daemon's program is compiled once for all tests.
	programs = sharedPrograms(t)
	cache := cacheWithBases(t)
	p.setenv("LLORCH_CACHE_DIR", cache)
	p.setenv("LLORCH_BUILDKITD", filepath.Join(programs, "buildkitd"))
	t.Cleanup(func() {
		if r := p.run("prune", "builders", "--yes"); r.code != 0 {
			t.Errorf("clean-up: %s", r)
		}
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(cache, "builder", "log"))
			t.Logf("the builder's log:\n%s", tail(string(log), 40))
		}
	})
	return p, programs
}

// userCache is the program's cache folder on this machine.
func userCache(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("LLORCH_CACHE_DIR"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(home, ".cache", "llorch-bk")
}

// linkBases links the bases that setup bootstrapped into another cache folder.
func linkBases(t *testing.T, cache string) {
	t.Helper()
	if err := os.Symlink(filepath.Join(userCache(t), "bases"), filepath.Join(cache, "bases")); err != nil {
		t.Fatal(err)
	}
}

// left is what prune lists of a kind.
func left(t *testing.T, p *project, kind string) []struct {
	Name, Note string
	Bytes      int64
} {
	t.Helper()
	var out []struct {
		Name, Note string
		Bytes      int64
	}
	if err := json.Unmarshal([]byte(p.must("prune", kind, "--dry-run", "--json").stdout), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestFixtureManagedProcess checks that a managed builder is started once, reused, restarted
// after a kill, and removed by prune.
func TestFixtureManagedProcess(t *testing.T) {
	gate(t, "LLORCH_E2E_FIXTURE", "fixture")
	p, _ := managed(t)
	// Its image cannot be had, as on a closed machine.
	p.setenv("LLORCH_BUILDER_IMAGE", "llorch.local/no-such-builder:1")
	repo := gitrepo.New(t, tinyengine.Tree())
	const tag = "llorch-e2e:managed"
	t.Cleanup(func() { removeImages(t, p.api, tag) })
	metadata := filepath.Join(p.dir, "metadata.json")
	args := []string{"build", "--source", repo.Dir, "--ref", "HEAD", "--tag", tag, "--metadata-file", metadata}

	// An engine's own BuildKit that cannot keep such a cache makes way for it;
	// another is asked for one by name.
	first := []string{"--cache-to", "type=local,dest=" + filepath.Join(p.dir, "cache")}
	info, err := p.api.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	graphdriver := !slices.Contains(info.DriverStatus, [2]string{"driver-type", "io.containerd.snapshotter.v1"})
	if !graphdriver {
		first = append(first, "--builder", "managed")
	}
	r := p.must(append(args, first...)...)
	if graphdriver && !strings.Contains(r.stderr, "inline caches only") {
		t.Errorf("why another builder is used is not said: %s", r)
	}
	if !strings.Contains(r.stderr, "start a builder in the background") {
		t.Errorf("that a builder is started is not said: %s", r)
	}
	if _, err := os.Stat(filepath.Join(p.dir, "cache", "index.json")); err != nil {
		t.Errorf("the cache was not kept: %v", err)
	}

	// Found again, with everything in it.
	r = p.must(append(args, "--builder", "managed")...)
	if strings.Contains(r.stderr, "start a builder") {
		t.Errorf("a second builder was started: %s", r)
	}
	if ran := compiled(t, metadata); len(ran) > 0 {
		t.Errorf("compiled %q again", ran)
	}
	if l := left(t, p, "builders"); len(l) != 1 || l[0].Note != "a process" || l[0].Bytes == 0 {
		t.Errorf("prune finds %+v", l)
	}
	if out := p.must("doctor", "--json").stdout; !strings.Contains(out, "builder") {
		t.Errorf("doctor does not mention the builder: %s", out)
	}

	// Killed, it is started again, and its cache is still good.
	pid := builderPID(t, p)
	if err := exec.Command("kill", "-9", pid).Run(); err != nil {
		t.Fatal(err)
	}
	r = p.must(append(args, "--builder", "managed")...)
	if !strings.Contains(r.stderr, "start a builder in the background") {
		t.Errorf("a killed builder was found: %s", r)
	}
	if ran := compiled(t, metadata); len(ran) > 0 {
		t.Errorf("compiled %q again after a kill", ran)
	}
	p.must("run", tag, "--model", p.model())

	// Asked for, it goes, with all that it kept.
	pid = builderPID(t, p)
	if r := p.run("prune", "builders"); r.code != 2 || !strings.Contains(r.stderr, "--yes") {
		t.Errorf("without a terminal nothing can be asked: %s", r)
	}
	p.must("prune", "builders", "--yes")
	if l := left(t, p, "builders"); len(l) != 0 {
		t.Errorf("prune still finds %+v", l)
	}
	// One that nobody has waited for yet has no command line.
	if line, err := os.ReadFile("/proc/" + pid + "/cmdline"); err == nil && len(line) > 0 {
		t.Errorf("process %s still runs: %s", pid, line)
	}
}

// TestFixtureManagedFromNothing checks that a builder is started without its image and without
// a buildkitd on this machine: it is compiled once.
func TestFixtureManagedFromNothing(t *testing.T) {
	gate(t, "LLORCH_E2E_FIXTURE", "fixture")
	if _, err := exec.LookPath("buildkitd"); err == nil {
		t.Skip("this machine has a buildkitd in its path")
	}
	p, _ := managed(t)
	p.setenv("LLORCH_BUILDKITD", "")
	p.setenv("LLORCH_BUILDER_IMAGE", "llorch.local/no-such-builder:1")
	repo := gitrepo.New(t, tinyengine.Tree())
	const tag, compiles = "llorch-e2e:managed-from-nothing", "compile buildkitd "
	t.Cleanup(func() { removeImages(t, p.api, tag) })
	args := []string{"build", "--builder", "managed", "--source", repo.Dir, "--no-ui", "--tag", tag}
	if r := p.must(args...); !strings.Contains(r.stderr, compiles) {
		t.Errorf("where did the builder come from? %s", r)
	}
	p.must("prune", "builders", "--yes")
	if r := p.run("build", "--builder", "managed", "--source", repo.Dir, "--ref", "no-such-ref", "--tag", tag); r.code != 2 || strings.Contains(r.stderr, compiles) {
		t.Errorf("a builder was made for a build that could not be: %s", r)
	}
}

// builderPID is the process of the project's builder, by its socket's path.
func builderPID(t *testing.T, p *project) string {
	t.Helper()
	var cache string
	for _, e := range p.env {
		if v, ok := strings.CutPrefix(e, "LLORCH_CACHE_DIR="); ok {
			cache = v
		}
	}
	out, err := exec.Command("pgrep", "-f", "unix://"+cache+"/builder/sock").Output()
	pids := strings.Fields(string(out))
	if err != nil || len(pids) != 1 {
		t.Fatalf("one builder should run: %v, %v", pids, err)
	}
	return pids[0]
}

// sharedPrograms is a folder with buildkitd and buildctl.
func sharedPrograms(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(filepath.Dir(binary), "buildkit")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"buildkitd", "buildctl"} {
		if err := buildkitd.Program(t.Context(), name, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
