package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/fixtures/buildkitd"
	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
)

// standalone starts a private buildkitd for the test.
func standalone(t *testing.T) *buildkitd.Daemon {
	t.Helper()
	return standaloneIn(t, shortDir(t))
}

// shortDir is a folder for buildkitd, which this machine must be able to run.
func shortDir(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("a buildkitd of our own needs Linux and root")
	}
	if _, err := exec.LookPath("runc"); err != nil {
		t.Skip("a buildkitd of our own needs runc")
	}
	// Not t.TempDir: a socket's path has at most 107 bytes.
	dir, err := os.MkdirTemp("", "bkd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// standaloneIn starts it in a folder.
func standaloneIn(t *testing.T, dir string) *buildkitd.Daemon {
	t.Helper()
	d, err := buildkitd.Start(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Remove()
		if t.Failed() {
			log, _ := os.ReadFile(d.Log)
			t.Logf("buildkitd's log:\n%s", tail(string(log), 40))
		}
	})
	return d
}

// TestFixtureStandaloneBuilder builds with a BuildKit outside Docker: without a registry it
// receives the base as an OCI layout, and it returns the image through a pipe.
func TestFixtureStandaloneBuilder(t *testing.T) {
	p := fixture(t)
	d := standalone(t)
	repo := gitrepo.New(t, tinyengine.Tree())
	url := repo.Serve()
	const tag = "llorch-e2e:standalone"
	t.Cleanup(func() { removeImages(t, p.api, tag) })
	p.must("build", "--builder", d.Addr, "--source", url, "--tag", tag)
	p.must("run", tag, "--model", p.model())
	h, _ := p.handoff("default")
	if code, _ := get(t, h.URL+"/health"); code != 200 {
		t.Errorf("/health: %d", code)
	}
	if h.Commit != repo.Head() {
		t.Errorf("the handoff's commit is %s, want %s", h.Commit, repo.Head())
	}

	// A builder that dies in the middle.
	slow := slowRepo(t)
	s := p.start("build", "--builder", d.Addr, "--source", slow.Dir, "--tag", "llorch-e2e:slow")
	s.shows(t, "[compile]", 5*time.Minute)
	d.Kill()
	s.wait().wants(t, 4, "broke during the build")
	if _, err := p.api.ImageInspect(t.Context(), "llorch-e2e:slow"); err == nil {
		t.Error("a build whose builder died left an image")
	}
}

// TestFixtureEmptyRunner checks that an empty builder with a registry cache, like an ephemeral
// CI runner, compiles only what a commit touched.
func TestFixtureEmptyRunner(t *testing.T) {
	p := fixture(t)
	reg := newRegistry(t)
	cache := reg.host + "/cache:tiny"
	repo := gitrepo.New(t, tinyengine.Tree())
	const tag = "llorch-e2e:runner"
	t.Cleanup(func() { removeImages(t, p.api, tag) })

	first := standalone(t)
	p.must("build", "--builder", first.Addr, "--source", repo.Dir, "--ref", "HEAD", "--tag", tag, "--cache-to", cache)
	first.End()

	repo.Commit("change the server", map[string]string{"tools/server/server.c": edited(t, "tools/server/server.c", "changed")})
	second := standalone(t)
	metadata := filepath.Join(p.dir, "metadata.json")
	p.must("build", "--builder", second.Addr, "--source", repo.Dir, "--ref", "HEAD", "--tag", tag, "--cache-from", cache, "--metadata-file", metadata)
	if ran := compiled(t, metadata); !slices.Equal(ran, []string{"llama-server"}) {
		t.Errorf("compiled %q, want the server alone", ran)
	}
	p.must("run", tag, "--model", p.model())
	if h, _ := p.handoff("default"); h.Commit != repo.Head() {
		t.Errorf("the handoff's commit is %s, want %s", h.Commit, repo.Head())
	}
}
