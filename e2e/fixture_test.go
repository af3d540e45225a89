package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/hub"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
)

const fixtureTag = "llorch-e2e:fixture"

// fixture skips tests of a tier that is not enabled, and gives each test a project with a
// built image. The first test builds the image.
func fixture(t *testing.T) *project {
	t.Helper()
	gate(t, "LLORCH_E2E_FIXTURE", "fixture")
	p := newProject(t)
	buildOnce.Do(func() {
		repo := gitrepo.New(t, tinyengine.Tree())
		r := p.run("build", "--source", repo.Serve(), "--cpu", "portable", "--tag", fixtureTag)
		if buildErr = ""; r.code != 0 {
			buildErr = r.String()
		}
	})
	if buildErr != "" {
		t.Fatalf("the fixture's image was not built:\n%s", buildErr)
	}
	return p
}

var (
	buildOnce sync.Once
	buildErr  = "building it ended its test"
)

// model writes the tiny model as a file of the user's own.
func (p *project) model() string {
	p.t.Helper()
	path := filepath.Join(p.dir, "tiny.gguf")
	f, err := os.Create(path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	if err := gguf.WriteTinyLlama(f); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// hub is a hub that has the model as org/tiny, and the only one that the project knows.
func (p *project) hub() (h *hub.Hub, content []byte) {
	p.t.Helper()
	content, err := os.ReadFile(p.model())
	if err != nil {
		p.t.Fatal(err)
	}
	h = hub.New(p.t)
	h.Add("org/tiny", "tiny-Q8_0.gguf", content)
	h.AddPlain("org/tiny", "README.md", []byte("# tiny"))
	p.setenv("HF_ENDPOINT", h.Endpoint())
	p.setenv("HF_HUB_CACHE", p.t.TempDir())
	return h, content
}

func TestFixtureFromSourceToHandoff(t *testing.T) {
	p := fixture(t)
	model := p.model()
	p.must("run", fixtureTag, "--model", model, "--ctx", "512", "--", "--fixture-load-ms", "700")

	// The handoff, field by field, as another program reads it.
	data, err := os.ReadFile(filepath.Join(p.handoffDir(), "llamacpp.json"))
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]any
	if err := json.Unmarshal(data, &raw); err != nil {
		t.Fatal(err)
	}
	url, _ := raw["url"].(string)
	for field, want := range map[string]any{"engine": "llamacpp", "provisioning_mode": "source", "pool_id": "default", "replica_id": "r0"} {
		if raw[field] != want {
			t.Errorf("%s is %v, want %v", field, raw[field], want)
		}
	}
	// What the server says of itself, which must be the commit that was compiled.
	commit, _ := raw["commit"].(string)
	if v, _ := raw["engine_version"].(string); len(commit) != 40 || !strings.HasSuffix(v, "-"+commit[:7]) {
		t.Errorf("engine_version is %v of commit %q", raw["engine_version"], commit)
	}
	if !strings.HasPrefix(url, "http://127.0.0.1:") {
		t.Errorf("url is %q", url)
	}
	m, _ := raw["model"].(map[string]any)
	if m["id"] != model || m["path"] != model {
		t.Errorf("model is %v, want id and path %s", m, model)
	}
	if _, err := os.ReadFile(m["path"].(string)); err != nil {
		t.Errorf("model.path cannot be read: %v", err)
	}
	flags, ok := raw["flags"].([]any)
	if !ok || !slices.Contains(flags, any("--ctx-size")) || slices.Contains(flags, any("--model")) || slices.Contains(flags, any("--port")) {
		t.Errorf("flags are %v", raw["flags"])
	}

	if code, body := get(t, url+"/health"); code != 200 || !strings.Contains(body, "ok") {
		t.Errorf("/health: %d %s", code, body)
	}
	if code, body := get(t, url+"/props"); code != 200 || !strings.Contains(body, "build_info") {
		t.Errorf("/props: %d %s", code, body)
	}
	if code, _ := get(t, url+"/version"); code != 200 {
		t.Errorf("/version: %d", code)
	}
	if code, _ := get(t, url+"/no/such/page"); code != 404 {
		t.Errorf("an unknown page: %d, want 404", code)
	}

	ps := p.must("ps", "--json")
	var pools []struct{ Pool, State, URL, Handoff string }
	if err := json.Unmarshal([]byte(ps.stdout), &pools); err != nil {
		t.Fatalf("ps --json: %v\n%s", err, ps)
	}
	if len(pools) != 1 || pools[0].State != "ready" || pools[0].URL != url || pools[0].Handoff == "" {
		t.Errorf("ps shows %+v", pools)
	}
	if logs := p.must("logs"); !strings.Contains(logs.stdout, "listening") {
		t.Errorf("logs lack the server's line: %s", logs)
	}

	p.must("stop")
	p.leftNothing()
}

// TestFixtureHardening inspects the container on its engine.
func TestFixtureHardening(t *testing.T) {
	p := fixture(t)
	p.must("run", fixtureTag, "--model", p.model())
	c, err := p.api.ContainerInspect(t.Context(), p.containers()[0])
	if err != nil {
		t.Fatal(err)
	}
	h := c.HostConfig
	switch uid, _, _ := strings.Cut(c.Config.User, ":"); {
	case uid == "" || uid == "0" || uid == "root":
		t.Errorf("the server runs as %q", c.Config.User)
	case !h.ReadonlyRootfs:
		t.Error("the root file system can be written")
	case !slices.Contains(h.CapDrop, "ALL") || len(h.CapAdd) > 0:
		t.Errorf("capabilities: drop %v, add %v", h.CapDrop, h.CapAdd)
	case !slices.Contains(h.SecurityOpt, "no-new-privileges"):
		t.Errorf("security options: %v", h.SecurityOpt)
	case h.Init == nil || !*h.Init:
		t.Error("there is no init")
	case h.PidsLimit == nil || *h.PidsLimit <= 0:
		t.Error("there is no pids limit")
	case h.LogConfig.Config["max-size"] == "":
		t.Errorf("the log has no limit: %v", h.LogConfig)
	}
	for port, bindings := range h.PortBindings {
		for _, b := range bindings {
			if b.HostIP != "127.0.0.1" {
				t.Errorf("port %s is published on %q", port, b.HostIP)
			}
		}
	}
	if len(c.Mounts) == 0 {
		t.Error("no model is mounted")
	}
	for _, m := range c.Mounts {
		if m.RW {
			t.Errorf("%s can be written", m.Destination)
		}
	}
	img, err := p.api.ImageInspect(t.Context(), fixtureTag)
	if err != nil {
		t.Fatal(err)
	}
	if img.Config.Healthcheck == nil || slices.Contains(img.Config.Healthcheck.Test, "curl") {
		t.Errorf("the image's health check is %+v", img.Config.Healthcheck)
	}
	for _, label := range []string{"org.opencontainers.image.revision", "dev.llorch.recipe", "dev.llorch.variant", "dev.llorch.cpu"} {
		if img.Config.Labels[label] == "" {
			t.Errorf("the image has no label %s", label)
		}
	}
	// The image's own probe agrees that the server is healthy.
	eventually(t, "Docker's health check says healthy", 40*time.Second, func() bool {
		c, err := p.api.ContainerInspect(t.Context(), c.ID)
		return err == nil && c.State.Health != nil && c.State.Health.Status == "healthy"
	})
}

// TestFixtureRunAgain checks a second run: it does nothing, adds only what is missing, or
// replaces what differs; the url stays the same.
func TestFixtureRunAgain(t *testing.T) {
	p := fixture(t)
	model := p.model()
	p.must("run", fixtureTag, "--model", model)
	first, ok := p.handoff("default")
	if !ok {
		t.Fatal("there is no handoff")
	}

	again := p.must("run", fixtureTag, "--model", model)
	if h, _ := p.handoff("default"); h.Container.ID != first.Container.ID || !strings.Contains(again.stdout, "was running already") {
		t.Errorf("the same run replaced the container, or did not say that it left it alone\n%s", again)
	}

	if err := os.Remove(filepath.Join(p.handoffDir(), "llamacpp.json")); err != nil {
		t.Fatal(err)
	}
	p.must("run", fixtureTag, "--model", model)
	if h, ok := p.handoff("default"); !ok || h.Container.ID != first.Container.ID || h.URL != first.URL {
		t.Errorf("the missing handoff was not restored as it was: %+v", h)
	}

	p.must("run", fixtureTag, "--model", model, "--ctx", "256")
	h, ok := p.handoff("default")
	if !ok || h.Container.ID == first.Container.ID {
		t.Error("another run digest did not replace the container")
	}
	if h.URL != first.URL {
		t.Errorf("the pool's url changed from %s to %s", first.URL, h.URL)
	}
	if n := len(p.containers()); n != 1 {
		t.Errorf("%d containers run, want 1", n)
	}

	// A second pool beside it, with its own file.
	p.must("run", fixtureTag, "--model", model, "--pool", "chat")
	if _, err := os.Stat(filepath.Join(p.handoffDir(), "llamacpp-chat-r0.json")); err != nil {
		t.Error(err)
	}
	p.must("stop", "chat")
	if _, ok := p.handoff("default"); !ok {
		t.Error("stopping one pool removed another's handoff")
	}

	// A handoff whose container somebody else removed is a lie, and ps ends it.
	if err := p.api.ContainerRemove(t.Context(), h.Container.ID, container.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	p.must("ps")
	if _, ok := p.handoff("default"); ok {
		t.Error("ps left the handoff of a container that is gone")
	}
}

// TestFixtureUpReuses checks that up builds once, and again only for a new commit.
func TestFixtureUpReuses(t *testing.T) {
	p := fixture(t)
	repo := gitrepo.New(t, tinyengine.Tree())
	url, model := repo.Serve(), p.model()
	r := p.must("up", "--source", url, "--model", model)
	if !strings.Contains(r.stderr, "[compile]") && !strings.Contains(r.stderr, "reusing the image") {
		t.Errorf("the first up neither compiled nor said why not\n%s", r)
	}
	first, _ := p.handoff("default")
	r = p.must("up", "--source", url, "--model", model)
	if strings.Contains(r.stderr, "[compile]") || !strings.Contains(r.stdout, "was running already") {
		t.Errorf("the second up built again\n%s", r)
	}
	repo.Commit("a new notice", map[string]string{"NOTICE.new": "changed\n"})
	p.must("up", "--source", url, "--model", model)
	second, _ := p.handoff("default")
	if second.Commit == first.Commit || second.Commit != repo.Head() {
		t.Errorf("the moved branch was not followed: %s, then %s, head %s", first.Commit, second.Commit, repo.Head())
	}
	p.must("stop")
	// By name: the first may be the tier's own image, which fitted.
	for _, ref := range []string{first.Image.Ref, second.Image.Ref} {
		if ref != fixtureTag {
			removeImages(t, p.api, ref)
		}
	}
}

// TestFixtureSources builds from a working tree and from a bundle.
func TestFixtureSources(t *testing.T) {
	p := fixture(t)
	repo := gitrepo.New(t, tinyengine.Tree())
	bundle := filepath.Join(t.TempDir(), "source.bundle")
	squashed := repo.Bundle(bundle)
	for name, c := range map[string]struct {
		args   []string
		commit string
	}{
		"bundle":       {[]string{"--source", bundle}, squashed},
		"working tree": {[]string{"--source", repo.Dir}, repo.Head()},
		"local commit": {[]string{"--source", repo.Dir, "--ref", "HEAD"}, repo.Head()},
	} {
		t.Run(name, func(t *testing.T) {
			tag := "llorch-e2e:" + strings.ReplaceAll(name, " ", "-")
			t.Cleanup(func() { removeImages(t, p.api, tag) })
			r := p.must(append([]string{"build", "--tag", tag, "--json"}, c.args...)...)
			var built struct {
				Plan struct {
					Source struct{ Commit string } `json:"source"`
				} `json:"plan"`
			}
			if err := json.Unmarshal([]byte(r.stdout), &built); err != nil {
				t.Fatalf("%v\n%s", err, r)
			}
			if built.Plan.Source.Commit != c.commit {
				t.Errorf("the commit is %q, want %s", built.Plan.Source.Commit, c.commit)
			}
		})
	}
}

func removeImages(t *testing.T, api *client.Client, names ...string) {
	t.Helper()
	for _, n := range slices.Compact(names) {
		if _, err := api.ImageRemove(context.Background(), n, image.RemoveOptions{Force: true}); err != nil && !errdefs.IsNotFound(err) {
			t.Logf("image %s was left: %v", n, err)
		}
	}
}

// broken is the tiny engine's tree with some files replaced.
func broken(t *testing.T, files map[string]string) fs.FS {
	t.Helper()
	tree := fstest.MapFS{}
	err := fs.WalkDir(tinyengine.Tree(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(tinyengine.Tree(), path)
		tree[path] = &fstest.MapFile{Data: data, Mode: 0o644}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range files {
		tree[path] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	return tree
}

// TestFixtureNewestImage checks that run without an image uses the image that was built last,
// whatever the age of its commit.
func TestFixtureNewestImage(t *testing.T) {
	p := fixture(t)
	model := p.model()
	repo := gitrepo.New(t, tinyengine.Tree())
	const first, second = "llorch-e2e:first", "llorch-e2e:second"
	t.Cleanup(func() { removeImages(t, p.api, first, second) })
	p.must("build", "--source", repo.Dir, "--tag", second)
	repo.Commit("a later commit", map[string]string{"README.md": "later"})
	p.must("build", "--source", repo.Dir, "--tag", first)
	p.must("build", "--source", repo.Dir, "--ref", "HEAD~1", "--tag", second)
	p.must("run", "--model", model)
	if h, _ := p.handoff("default"); h.Image.Ref != second {
		t.Errorf("a bare run took %s, want %s", h.Image.Ref, second)
	}
}

// TestFixtureStepsFollowWhatChanges checks that a commit recompiles only the steps whose files
// it touches.
func TestFixtureStepsFollowWhatChanges(t *testing.T) {
	p := fixture(t)
	server := "llama-server"
	changes := []struct {
		file string
		want []string
	}{
		{"README.md", []string{server}}, // It names the commit, and nothing else does.
		// A comment leaves the object as it was, so that nothing is linked again.
		{"ggml/src/ggml-cpu/ggml-cpu.c", []string{"ggml-cpu-kernels", server}},
		{"ggml/src/ggml-cpu/ops.cpp", []string{"ggml-cpu-ops", server}},
		{"ggml/src/ggml.c", []string{"ggml", server}},
		{"src/llama.c", []string{"llama", server}},
		{"common/log.c", []string{"common", server}},
		{"tools/mtmd/mtmd.c", []string{"mtmd", server}},
		{"tools/server/server.c", []string{server}},
		{"include/llama.h", []string{"common", "llama", server, "mtmd"}},
	}
	for name, builder := range map[string]func(t *testing.T) string{
		"standalone": func(t *testing.T) string { return standalone(t).Addr },
		// Of engines of the 20.10 line, the steps take turns.
		"engine": func(*testing.T) string { return "auto" },
	} {
		t.Run(name, func(t *testing.T) {
			addr := builder(t)
			repo := gitrepo.New(t, tinyengine.Tree())
			tag := "llorch-e2e:steps-" + name
			t.Cleanup(func() { removeImages(t, p.api, tag) })
			build := func() []string {
				metadata := filepath.Join(t.TempDir(), "metadata.json")
				p.must("build", "--builder", addr, "--source", repo.Dir, "--ref", repo.Head(), "--tag", tag, "--metadata-file", metadata)
				return compiled(t, metadata)
			}
			build()
			for _, c := range changes {
				repo.Commit("change "+c.file, map[string]string{c.file: edited(t, c.file, rand.Text())})
				if got := build(); !slices.Equal(got, slices.Sorted(slices.Values(c.want))) {
					t.Errorf("a change of %s compiled %v, want %v", c.file, got, c.want)
				}
			}
		})
	}
}

// edited is a file of the tiny engine with an additional comment at its end.
func edited(t *testing.T, name, comment string) string {
	t.Helper()
	data, err := fs.ReadFile(tinyengine.Tree(), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data) + "\n// " + comment + "\n"
}

// compiled are the parts that a build compiled, by its metadata.
func compiled(t *testing.T, metadata string, first ...string) []string {
	t.Helper()
	data, err := os.ReadFile(metadata)
	if err != nil {
		t.Fatal(err)
	}
	var built struct {
		Layers []struct {
			Name  string
			Bytes int64
		}
	}
	if err := json.Unmarshal(data, &built); err != nil {
		t.Fatal(err)
	}
	var layers []string
	for _, l := range built.Layers {
		if l.Bytes > 0 {
			layers = append(layers, l.Name)
		}
	}
	want := slices.Concat([]string{"runtime", "health probe", "licences"}, first, []string{"ggml-cpu", "ggml", "llama", "common", "mtmd", "llama-server"})
	if !slices.Equal(layers, want) {
		t.Errorf("the image's layers are %v, want %v", built.Layers, want)
	}
	return ran(t, metadata)
}

// ran are the parts that a build compiled, whatever its output.
func ran(t *testing.T, metadata string) []string {
	t.Helper()
	data, err := os.ReadFile(metadata)
	if err != nil {
		t.Fatal(err)
	}
	var built struct {
		Steps []struct {
			Name   string
			Cached bool
		}
	}
	if err := json.Unmarshal(data, &built); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range built.Steps {
		if part, ok := strings.CutPrefix(s.Name, "[compile] "); ok && !s.Cached {
			part, _, _ = strings.Cut(part, " ")
			out = append(out, part)
		}
	}
	slices.Sort(out)
	return out
}
