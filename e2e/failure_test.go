package e2e

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/hub"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
)

// TestFixtureUsage checks that an invalid request starts nothing.
func TestFixtureUsage(t *testing.T) {
	p := fixture(t)
	model := p.model()
	repo := gitrepo.New(t, tinyengine.Tree())
	url := repo.Serve()
	other := gitrepo.New(t, broken(t, map[string]string{"CMakeLists.txt": "project(\"something\" C)\n"}))
	notDir := filepath.Join(p.dir, "file")
	if err := os.WriteFile(notDir, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args  []string
		words []string
	}{
		"unknown command":       {[]string{"biuld"}, []string{"biuld"}},
		"unknown flag":          {[]string{"build", "--nope"}, []string{"--nope", "--help"}},
		"unknown variant":       {[]string{"build", "--variant", "rocm"}, []string{"rocm", "cpu, cuda, cuda12"}},
		"unknown level":         {[]string{"plan", "--cpu", "x86-64-v9"}, []string{"x86-64-v9", "x86-64-v3"}},
		"unknown ref":           {[]string{"build", "--source", url, "--ref", "no-such-branch"}, []string{"no-such-branch", url}},
		"no repository":         {[]string{"build", "--source", strings.Replace(url, ".git", "-none.git", 1)}, []string{"no readable repository"}},
		"no llama.cpp":          {[]string{"build", "--source", other.Serve()}, []string{"not a llama.cpp tree", "--source"}},
		"no llama.cpp here":     {[]string{"plan", "--source", other.Dir}, []string{"not a llama.cpp tree"}},
		"source does not exist": {[]string{"build", "--source", "/no/such/tree"}, []string{"/no/such/tree"}},
		"bad model ref":         {[]string{"run", fixtureTag, "--model", "hf:justonename"}, []string{"hf:"}},
		"bad pool":              {[]string{"run", fixtureTag, "--model", model, "--pool", "A B"}, []string{"pool"}},
		"bad port":              {[]string{"run", fixtureTag, "--model", model, "--port", "70000"}, []string{"70000"}},
		"model behind the dash": {[]string{"run", fixtureTag, "--model", model, "--", "-m", "x"}, []string{"--model"}},
		"no such image":         {[]string{"run", "llorch-e2e:never-built", "--model", model}, []string{"never-built", "llorch-bk build"}},
		"unwritable handoff":    {[]string{"up", "--source", url, "--model", model, "--handoff-dir", notDir + "/engines"}, []string{"handoff"}},
		"no such pool":          {[]string{"logs", "nobody"}, []string{"nobody", "llorch-bk ps"}},
	} {
		t.Run(name, func(t *testing.T) {
			p.run(c.args...).wants(t, 2, c.words...)
			p.leftNothing()
		})
	}
}

func TestFixtureNoEngine(t *testing.T) {
	p := fixture(t)
	none := &project{t: t, dir: t.TempDir(), env: append(p.env, "DOCKER_HOST=unix:///no/such/docker.sock"), api: p.api}
	none.run("build").wants(t, 3, "/no/such/docker.sock")
	none.run("run", "--model", p.model()).wants(t, 3, "/no/such/docker.sock")
	none.run("build", "--builder", "unix:///no/such/buildkitd.sock").wants(t, 3)
}

// TestFixtureNoBase checks that the error for a missing base names a remedy.
func TestFixtureNoBase(t *testing.T) {
	p := fixture(t)
	repo := gitrepo.New(t, tinyengine.Tree())
	p.run("build", "--source", repo.Dir, "--base", "localhost:1/no/such/base:1").wants(t, 3, "no/such/base")
}

// TestFixtureCompileError checks that a source that does not compile ends with exit code 4
// and the compiler's messages.
func TestFixtureCompileError(t *testing.T) {
	p := fixture(t)
	repo := gitrepo.New(t, broken(t, map[string]string{"tools/server/server.c": "#error this line does not compile\n"}))
	p.run("build", "--source", repo.Dir, "--tag", "llorch-e2e:broken").wants(t, 4, "this line does not compile", "[compile]")
	if _, err := p.api.ImageInspect(t.Context(), "llorch-e2e:broken"); err == nil {
		t.Error("a failed build left an image")
	}
}

// TestFixtureModels checks failed model downloads: exit code 5, the reason, and nothing left
// in store or engine.
func TestFixtureModels(t *testing.T) {
	p := fixture(t)
	store := t.TempDir()
	h := hub.New(t)
	p.setenv("HF_ENDPOINT", h.Endpoint())
	p.setenv("LLORCH_MODEL_DIR", store)
	h.Add("org/tiny", "tiny.gguf", gguf.Minimal())
	h.Add("org/text", "text.gguf", []byte(strings.Repeat("this is no model\n", 1000)))
	h.Add("org/secret", "s.gguf", gguf.Minimal())
	h.Private("org/secret", "token")
	h.Add("org/gated", "g.gguf", gguf.Minimal())
	h.Gated("org/gated", "token")
	page := h.Serve("page.gguf", "", []byte("<!DOCTYPE html><html><body>log in</body></html>"))
	notModel := filepath.Join(p.dir, "notes.txt")
	if err := os.WriteFile(notModel, []byte("no model at all"), 0o644); err != nil {
		t.Fatal(err)
	}
	wrong := "#sha256=" + strings.Repeat("0", 64)
	for name, c := range map[string]struct {
		ref   string
		words []string
	}{
		"no such file":       {"/no/such/model.gguf", []string{"/no/such/model.gguf"}},
		"file is no model":   {notModel, []string{"GGUF"}},
		"file's wrong hash":  {p.model() + wrong, []string{"sha256"}},
		"no such repository": {"hf:org/nobody/x.gguf", []string{"org/nobody"}},
		"no such hub file":   {"hf:org/tiny/other.gguf", []string{"tiny.gguf"}},
		"private":            {"hf:org/secret/s.gguf", []string{"HF_TOKEN"}},
		"gated":              {"hf:org/gated/g.gguf", []string{"org/gated"}},
		"hub's is no model":  {"hf:org/text/text.gguf", []string{"GGUF"}},
		"hub's wrong hash":   {"hf:org/tiny/tiny.gguf" + wrong, []string{"sha256"}},
		"a page":             {page, []string{"HTML"}},
	} {
		t.Run(name, func(t *testing.T) {
			p.run("run", fixtureTag, "--model", c.ref).wants(t, 5, c.words...)
			p.leftNothing()
			if left := filesIn(t, store); len(left) > 0 {
				t.Errorf("the store was left with %v", left)
			}
		})
	}
}

// filesIn are the files below a folder.
func filesIn(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestFixtureHubModel runs with a model from the Hub, redirect and hash included.
func TestFixtureHubModel(t *testing.T) {
	p := fixture(t)
	h := hub.New(t)
	p.setenv("HF_ENDPOINT", h.Endpoint())
	data, err := os.ReadFile(p.model())
	if err != nil {
		t.Fatal(err)
	}
	h.Add("org/tiny", "q/tiny.gguf", data)
	p.must("run", fixtureTag, "--model", "hf:org/tiny/q/tiny.gguf")
	ho, _ := p.handoff("default")
	if got, err := os.ReadFile(ho.Model.Path); err != nil || len(got) != len(data) {
		t.Errorf("model.path %s holds %d bytes, want %d: %v", ho.Model.Path, len(got), len(data), err)
	}
	if ho.Model.ID != "hf:org/tiny/q/tiny.gguf" {
		t.Errorf("model.id is %q", ho.Model.ID)
	}
}

// TestFixtureServerFails checks the errors of servers that do not get ready.
func TestFixtureServerFails(t *testing.T) {
	p := fixture(t)
	model := p.model()
	busy, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := strconv.Itoa(busy.Addr().(*net.TCPAddr).Port)
	for name, c := range map[string]struct {
		code  int
		args  []string
		words []string
	}{
		"unknown server flag": {6, []string{"--", "--no-such-flag"}, []string{"--no-such-flag", "exited with code 1"}},
		"exits while loading": {6, []string{"--", "--fixture-load-ms", "200", "--fixture-exit-code", "3"}, []string{"exited with code 3"}},
		"crashes":             {6, []string{"--", "--fixture-never-ready", "--fixture-crash-after-ms", "300"}, []string{"signal 6"}},
		"out of memory":       {6, []string{"--memory", "64m", "--", "--fixture-oom"}, []string{"memory"}},
		"port in use":         {6, []string{"--port", port}, []string{port}},
		"never ready":         {7, []string{"--timeout", "3s", "--", "--fixture-never-ready"}, []string{"--timeout"}},
		"hangs":               {7, []string{"--stall-timeout", "3s", "--", "--fixture-hang"}, []string{"--stall-timeout"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := p.run(append([]string{"run", fixtureTag, "--model", model}, c.args...)...)
			r.wants(t, c.code, c.words...)
			p.leftNothing()
		})
	}
}

// TestFixtureKilledWhileLoading checks that a container's exit ends the wait at once.
func TestFixtureKilledWhileLoading(t *testing.T) {
	p := fixture(t)
	s := p.start("run", fixtureTag, "--model", p.model(), "--", "--fixture-never-ready")
	s.shows(t, "loading model", time.Minute)
	names := p.containers()
	if len(names) != 1 {
		t.Fatalf("containers: %v", names)
	}
	if err := p.api.ContainerKill(t.Context(), names[0], "KILL"); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	r := s.wait()
	r.wants(t, 6, "signal 9")
	if took := time.Since(killed); took > 2*time.Second {
		t.Errorf("the death was noticed after %s, want at most 2 s", took)
	}
	p.leftNothing()
}

// TestFixtureInterrupted checks that Ctrl-C cleans up in every phase.
func TestFixtureInterrupted(t *testing.T) {
	p := fixture(t)
	model := p.model()
	t.Run("waiting", func(t *testing.T) {
		s := p.start("run", fixtureTag, "--model", model, "--", "--fixture-never-ready", "--fixture-ignore-sigterm")
		s.shows(t, "loading model", time.Minute)
		s.interrupt()
		s.wait().wants(t, 130)
		p.leftNothing()
	})
	t.Run("downloading", func(t *testing.T) {
		h := hub.New(t)
		data, err := os.ReadFile(model)
		if err != nil {
			t.Fatal(err)
		}
		h.Add("org/tiny", "tiny.gguf", data)
		h.Break(hub.CDN, "GET", 100, hub.Stall(int64(len(data)/2)))
		p.setenv("HF_ENDPOINT", h.Endpoint())
		s := p.start("run", fixtureTag, "--model", "hf:org/tiny/tiny.gguf")
		s.shows(t, "download", time.Minute)
		s.interrupt()
		s.wait().wants(t, 130)
		p.leftNothing()
	})
	t.Run("building", func(t *testing.T) {
		slow := slowRepo(t)
		s := p.start("build", "--source", slow.Dir, "--tag", "llorch-e2e:slow")
		s.shows(t, "[compile]", 5*time.Minute)
		eventually(t, "the compile runs", time.Minute, slowRuns)
		s.interrupt()
		s.wait().wants(t, 130)
		eventually(t, "the compile has ended", 30*time.Second, func() bool { return !slowRuns() })
		if _, err := p.api.ImageInspect(context.Background(), "llorch-e2e:slow"); err == nil {
			t.Error("an interrupted build left an image")
		}
		p.leftNothing()
	})
}

// slowCommand takes ten minutes. Its number identifies the process.
const slowCommand = "sleep 604.21"

// slowRuns reports whether the slow configure is running on this machine.
func slowRuns() bool {
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range found {
		if line, err := os.ReadFile(f); err == nil && strings.ReplaceAll(strings.TrimRight(string(line), "\x00"), "\x00", " ") == slowCommand {
			return true
		}
	}
	return false
}

// slowRepo is the tiny engine with a configure that takes ten minutes.
func slowRepo(t *testing.T) *gitrepo.Repo {
	t.Helper()
	return gitrepo.New(t, broken(t, map[string]string{
		"cmake/slow.cmake": "execute_process(COMMAND " + slowCommand + ")\n", "CMakeLists.txt": slowTop(t),
	}))
}

// slowTop is the tree's top CMakeLists.txt with the slow part in it.
func slowTop(t *testing.T) string {
	t.Helper()
	f, err := tinyengine.Tree().Open("CMakeLists.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, info.Size())
	if _, err := f.Read(data); err != nil {
		t.Fatal(err)
	}
	return string(data) + "\ninclude(cmake/slow.cmake)\n"
}

// TestFixtureEqualAtOnce checks that equal starts at the same moment join: one starts the
// server, and the others wait and use it.
func TestFixtureEqualAtOnce(t *testing.T) {
	p := fixture(t)
	model := p.model()
	began := time.Now()
	var starts []*started
	for range 4 {
		starts = append(starts, p.start("run", fixtureTag, "--model", model, "--", "--fixture-load-ms", "500"))
	}
	for _, s := range starts {
		if r := s.wait(); r.code != 0 {
			t.Errorf("%s", r)
		}
	}
	names := p.containers()
	h, ok := p.handoff("default")
	if len(names) != 1 || !ok || h.Container.Name != names[0] {
		t.Errorf("containers %v, handoff of %q", names, h.Container.Name)
	}
	if code, _ := get(t, h.URL+"/health"); code != 200 {
		t.Errorf("/health of the handoff's url: %d", code)
	}
	if did := p.happened(began); len(did) != 2 {
		t.Errorf("the engine did %v, want one creation and one start", did)
	}
}

// TestFixtureEngineRestartKeepsPort checks that the published port is fixed. With port 0,
// Docker would choose another one at each restart.
func TestFixtureEngineRestartKeepsPort(t *testing.T) {
	p := fixture(t)
	p.must("run", fixtureTag, "--model", p.model())
	h, _ := p.handoff("default")
	if err := p.api.ContainerRestart(t.Context(), h.Container.ID, container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the restarted server answers at the same url", 30*time.Second, func() bool {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", strings.TrimPrefix(h.URL, "http://"))
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

// TestFixtureBuildsAtOnce checks that concurrent builds with the same steps succeed and leave
// the engine running.
func TestFixtureBuildsAtOnce(t *testing.T) {
	p := fixture(t)
	repo := gitrepo.New(t, tinyengine.Tree())
	var tags []string
	var builds []*started
	for _, n := range []string{"one", "two", "three"} {
		tags = append(tags, "llorch-e2e:"+n)
		builds = append(builds, p.start("build", "--source", repo.Dir, "--no-cache", "--tag", "llorch-e2e:"+n))
	}
	t.Cleanup(func() { removeImages(t, p.api, tags...) })
	for _, b := range builds {
		if r := b.wait(); r.code != 0 {
			t.Errorf("%s", r)
		}
	}
	for _, tag := range tags {
		if _, err := p.api.ImageInspect(t.Context(), tag); err != nil {
			t.Errorf("%s: %v", tag, err)
		}
	}
}
