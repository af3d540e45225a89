package e2e

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
)

// daemon is a buildkitd of the test's own.
type daemon struct {
	cmd  *exec.Cmd
	addr string
	log  string
}

// buildkitd starts the buildkitd of the module that go.mod pins.
func buildkitd(t *testing.T) *daemon {
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
	bin := filepath.Join(dir, "buildkitd")
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/moby/buildkit/cmd/buildkitd").CombinedOutput(); err != nil {
		t.Fatalf("buildkitd does not build: %v\n%s", err, out)
	}
	d := &daemon{addr: "unix://" + filepath.Join(dir, "sock"), log: filepath.Join(dir, "log")}
	out, err := os.Create(d.log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	d.cmd = exec.Command(bin, "--addr", d.addr, "--root", filepath.Join(dir, "root"), "--containerd-worker=false", "--oci-worker=true")
	d.cmd.Stdout, d.cmd.Stderr = out, out
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.end(t, syscall.SIGTERM)
		// Layers of a builder that was killed can still be mounted.
		mounts, _ := os.ReadFile("/proc/self/mounts")
		for line := range strings.Lines(string(mounts)) {
			if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir) {
				_ = syscall.Unmount(f[1], syscall.MNT_DETACH)
			}
		}
		if t.Failed() {
			log, _ := os.ReadFile(d.log)
			t.Logf("buildkitd's log:\n%s", tail(string(log), 40))
		}
		os.RemoveAll(dir)
	})
	eventually(t, "buildkitd listens", time.Minute, func() bool {
		_, err := os.Stat(strings.TrimPrefix(d.addr, "unix://"))
		return err == nil
	})
	return d
}

// end stops the daemon and waits for it; once is enough.
func (d *daemon) end(t *testing.T, with syscall.Signal) {
	t.Helper()
	if d.cmd.ProcessState != nil {
		return
	}
	_ = d.cmd.Process.Signal(with)
	done := make(chan struct{})
	go func() { defer close(done); _ = d.cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		_ = d.cmd.Process.Kill()
		<-done
	}
}

// TestFixtureStandaloneBuilder builds with a BuildKit that is not Docker's: the
// base goes there as an OCI layout where no registry has it, and the image comes
// back through a pipe.
func TestFixtureStandaloneBuilder(t *testing.T) {
	p := fixture(t)
	d := buildkitd(t)
	repo := gitrepo.New(t, tinyengine.Tree())
	url := repo.Serve()
	const tag = "llorch-e2e:standalone"
	t.Cleanup(func() { removeImages(t, p.api, tag) })
	p.must("build", "--builder", d.addr, "--source", url, "--tag", tag)
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
	s := p.start("build", "--builder", d.addr, "--source", slow.Dir, "--tag", "llorch-e2e:slow")
	s.shows(t, "[compile]", 5*time.Minute)
	d.end(t, syscall.SIGKILL)
	s.wait().wants(t, 4, "went away")
	if _, err := p.api.ImageInspect(t.Context(), "llorch-e2e:slow"); err == nil {
		t.Error("a build whose builder died left an image")
	}
}

// TestFixtureEmptyRunner holds that a builder with nothing in it compiles, with
// a registry's cache, only what a commit touched, as an ephemeral CI runner does.
func TestFixtureEmptyRunner(t *testing.T) {
	p := fixture(t)
	reg := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(reg.Close)
	cache := strings.TrimPrefix(reg.URL, "http://") + "/cache:tiny"
	repo := gitrepo.New(t, tinyengine.Tree())
	const tag = "llorch-e2e:runner"
	t.Cleanup(func() { removeImages(t, p.api, tag) })

	first := buildkitd(t)
	p.must("build", "--builder", first.addr, "--source", repo.Dir, "--ref", "HEAD", "--tag", tag, "--cache-to", cache)
	first.end(t, syscall.SIGTERM)

	repo.Commit("change the server", map[string]string{"tools/server/server.c": edited(t, "tools/server/server.c", "changed")})
	second := buildkitd(t)
	metadata := filepath.Join(p.dir, "metadata.json")
	p.must("build", "--builder", second.addr, "--source", repo.Dir, "--ref", "HEAD", "--tag", tag, "--cache-from", cache, "--metadata-file", metadata)
	if ran := compiled(t, metadata); !slices.Equal(ran, []string{"llama-server"}) {
		t.Errorf("compiled %q, want the server alone", ran)
	}
	p.must("run", tag, "--model", p.model())
	if h, _ := p.handoff("default"); h.Commit != repo.Head() {
		t.Errorf("the handoff's commit is %s, want %s", h.Commit, repo.Head())
	}

	// An engine's own BuildKit that cannot says so before it builds.
	info, err := p.api.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(info.DriverStatus, [2]string{"driver-type", "io.containerd.snapshotter.v1"}) {
		return
	}
	p.run("build", "--source", repo.Dir, "--tag", "llorch-e2e:never", "--cache-to", "type=local,dest="+p.dir+"/cache").wants(t, 3, "inline caches only", "--builder")
}
