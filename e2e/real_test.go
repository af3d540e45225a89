package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/fixtures/llamasrc"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/runtime/model"
)

// known are models whose answer is known, by file name.
var known = map[string]struct{ prompt, completion string }{
	"stories260K.gguf": {"Once upon a time", ", there was a little girl named Lily. She loved to play outside in the p"},
	"tiny.gguf":        {gguf.TinyLlamaPrompt, gguf.TinyLlamaCompletion},
}

// TestRealFromSourceToCompletion compiles llama.cpp for this machine's CPU and
// lets it complete a text. LLAMA_REF names another ref than the pinned release,
// LLORCH_E2E_MODEL_PATH or MODEL_REPO with MODEL_PATTERN another model than the
// tiny one that the fixtures write; LLORCH_BUILDER another builder.
func TestRealFromSourceToCompletion(t *testing.T) {
	gate(t, "LLORCH_E2E_REAL", "real")
	fromSourceToCompletion(t, newProject(t))
}

// TestRealManagedBuilder does the same with a builder of our own, as on an engine
// whose BuildKit cannot do what is asked. It builds in steps, with the web UI.
func TestRealManagedBuilder(t *testing.T) {
	gate(t, "LLORCH_E2E_REAL", "real")
	p, _ := managed(t)
	p.setenv("LLORCH_BUILDER_IMAGE", "llorch.local/no-such-builder:1")
	fromSourceToCompletion(t, p, "--builder", "managed", "--no-cache", "--tag", "llorch-e2e:real-managed")
	removeImages(t, p.api, "llorch-e2e:real-managed")
	// The builder has compiled all but the GPU's backend by now.
	t.Run("Vulkan", func(t *testing.T) { vulkan(t, p, "--builder", "managed") })
}

// TestReleases compiles releases of the last two years, in as many parts as their
// trees can be taken apart into, and lets each complete the same text.
func TestReleases(t *testing.T) {
	gate(t, "LLORCH_E2E_RELEASES", "releases")
	for _, src := range llamasrc.Releases {
		t.Run(src.Release, func(t *testing.T) {
			p := newProject(t)
			tag := "llorch-e2e:" + src.Release
			said := fromSourceToCompletion(t, p, "--source", bundled(t, src), "--tag", tag)
			if strings.Contains(said.stderr, "is compiled in one step") {
				t.Errorf("it was not built in parts:\n%s", said.stderr)
			}
			info, err := p.api.ImageInspect(t.Context(), tag)
			if err != nil {
				t.Fatal(err)
			}
			layout := info.Config.Labels[images.LabelLayout]
			t.Logf("%s: layout %s, web UI %s", src.Release, layout, info.Config.Labels[images.LabelUI])
			if layout == string(images.LayoutWhole) {
				t.Error("its tree is not taken apart")
			}
			removeImages(t, p.api, tag)
		})
	}
}

// fromSourceToCompletion is the main job: up from a source, which is the usual one
// unless the flags name another, an answer, stop.
func fromSourceToCompletion(t *testing.T, p *project, flags ...string) result {
	t.Helper()
	ref := realModel(t, p)
	args := slices.Concat([]string{"up", "--model", ref, "--cpu", "native"}, flags)
	if !slices.Contains(flags, "--source") {
		args = append(args, realSource(t)...)
	}
	said := p.must(append(args, "--", "--ctx-size", "256")...)
	h, ok := p.handoff("default")
	if !ok {
		t.Fatal("there is no handoff")
	}
	if h.Engine != "llamacpp" || h.ProvisioningMode != "source" || h.PoolID != "default" || h.ReplicaID != "r0" {
		t.Errorf("the handoff is %+v", h)
	}
	if !strings.Contains(h.EngineVersion, h.Commit[:7]) {
		t.Errorf("engine_version %q does not name the commit %s", h.EngineVersion, h.Commit)
	}
	if _, err := os.Stat(h.Model.Path); err != nil {
		t.Errorf("model.path: %v", err)
	}
	if code, body := get(t, h.URL+"/health"); code != http.StatusOK {
		t.Errorf("/health: %d %s", code, body)
	}
	prompt, want := "Once upon a time", ""
	if k, ok := known[filepath.Base(h.Model.Path)]; ok {
		prompt, want = k.prompt, k.completion
	}
	code, body := answer(t, http.MethodPost, h.URL+"/completion", map[string]any{"prompt": prompt, "n_predict": 24, "temperature": 0})
	var got struct {
		Content string `json:"content"`
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != http.StatusOK {
		t.Fatalf("/completion: %d %s", code, body)
	}
	t.Logf("%s answered %q", h.EngineVersion, got.Content)
	switch {
	case want != "" && got.Content != want:
		t.Errorf("the completion is %q, want %q", got.Content, want)
	case strings.TrimSpace(got.Content) == "":
		t.Error("the completion is empty")
	}
	if code, page := get(t, h.URL+"/"); code != http.StatusOK || !strings.Contains(page, "<html") {
		t.Errorf("the web UI: %d %.200s", code, page)
	}
	p.must("stop")
	p.leftNothing()
	return said
}

// realSource is GitHub where it answers, else the real source from npm.
func realSource(t *testing.T) []string {
	t.Helper()
	ref := os.Getenv("LLAMA_REF")
	ls := exec.CommandContext(t.Context(), "timeout", "20", "git", "ls-remote", "--exit-code", images.DefaultRepository, "HEAD")
	if ls.Run() == nil {
		if ref == "" {
			ref = images.DefaultRef
		}
		return []string{"--source", images.DefaultRepository, "--ref", ref}
	}
	src := llamasrc.Pinned
	if ref != "" {
		var err error
		if src, err = llamasrc.Find(ref); err != nil {
			t.Fatalf("GitHub does not answer, and LLAMA_REF=%s: %v", ref, err)
		}
	}
	return []string{"--source", bundled(t, src)}
}

// bundled is the real source from npm.
func bundled(t *testing.T, src llamasrc.Source) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := src.Bundle(t.Context(), filepath.Join(cache, "llorch-bk", "demo"))
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

// realModel is the model that the environment names, else the fixtures' own.
func realModel(t *testing.T, p *project) string {
	t.Helper()
	if path := os.Getenv("LLORCH_E2E_MODEL_PATH"); path != "" {
		// The path is relative to where make was called.
		if !filepath.IsAbs(path) {
			path = filepath.Join("..", path)
		}
		abs, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		return abs
	}
	repo, pattern := os.Getenv("MODEL_REPO"), os.Getenv("MODEL_PATTERN")
	if repo == "" {
		return p.model()
	}
	env, err := model.FromEnv(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	if pattern == "" {
		pattern = "*.gguf"
	}
	ref, err := (&model.Fetcher{Environment: env}).ResolvePattern(t.Context(), repo, "", pattern)
	if err != nil {
		t.Fatal(err)
	}
	return ref.Raw
}
