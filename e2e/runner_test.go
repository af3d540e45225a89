package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/docker/go-units"
	"github.com/goccy/go-yaml"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/llamasrc"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
)

// action is the composite action as a runner reads it.
type action struct {
	Inputs map[string]struct{ Default string }
	Runs   struct {
		Steps []struct {
			Name, If, Run string
			Env           map[string]string
		}
	}
}

func readAction(t *testing.T) action {
	t.Helper()
	data, err := os.ReadFile("../action.yml")
	if err != nil {
		t.Fatal(err)
	}
	var a action
	if err := yaml.Unmarshal(data, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// runner is a fresh machine: its home and its builder are empty. Go's build cache stays, as a
// job's own cache would.
type runner struct {
	t   *testing.T
	dir string
	env map[string]string
}

func newRunner(t *testing.T, builder, workspace string, event any) *runner {
	t.Helper()
	for _, program := range []string{"bash", "jq", "go"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	r := &runner{t: t, dir: t.TempDir(), env: map[string]string{}}
	out, err := exec.CommandContext(t.Context(), "go", "env", "-json", "GOENV", "GOPATH", "GOCACHE", "GOMODCACHE").Output()
	if err == nil {
		err = json.Unmarshal(out, &r.env)
	}
	data, marshalErr := json.Marshal(event)
	root, absErr := filepath.Abs("..")
	if err := errors.Join(err, marshalErr, absErr, os.WriteFile(r.file("event"), data, 0o600), os.MkdirAll(r.file("cache"), 0o755)); err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{
		"HOME": r.dir, "LLORCH_CACHE_DIR": r.file("cache"), "BUILDKIT_HOST": builder, "NO_COLOR": "1",
		"RUNNER_TEMP": r.file("temp"), "GITHUB_WORKSPACE": workspace, "GITHUB_ACTION_PATH": root, "GITHUB_EVENT_PATH": r.file("event"),
		"GITHUB_OUTPUT": r.file("output"), "GITHUB_STEP_SUMMARY": r.file("summary"), "GITHUB_PATH": r.file("path"),
	} {
		r.env[k] = v
	}
	if err := os.Mkdir(r.file("temp"), 0o755); err != nil {
		t.Fatal(err)
	}
	linkBases(t, r.file("cache"))
	return r
}

func (r *runner) file(name string) string { return filepath.Join(r.dir, name) }

// read is a file that steps may have written; empty if they did not.
func (r *runner) read(name string) string {
	r.t.Helper()
	data, err := os.ReadFile(r.file(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.t.Fatal(err)
	}
	return string(data)
}

var inputOf = regexp.MustCompile(`^\$\{\{ inputs\.([a-z-]+) \}\}$`)

// use runs the action's steps one by one and returns their output.
func (r *runner) use(a action, inputs map[string]string) (said string, took time.Duration) {
	r.t.Helper()
	began := time.Now()
	for _, step := range a.Runs.Steps {
		if step.If != "" && step.If != "inputs.install-only != 'true'" {
			r.t.Fatalf("the step %s has a condition that is not known here: %s", step.Name, step.If)
		}
		cmd := exec.CommandContext(r.t.Context(), "bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step.Run)
		cmd.Dir, cmd.Env = r.env["GITHUB_WORKSPACE"], os.Environ()
		path := os.Getenv("PATH")
		for line := range strings.Lines(r.read("path")) {
			path = strings.TrimSpace(line) + ":" + path
		}
		for k, v := range r.env {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
		cmd.Env = append(cmd.Env, "PATH="+path)
		for k, expression := range step.Env {
			m := inputOf.FindStringSubmatch(expression)
			if m == nil {
				r.t.Fatalf("the step %s sets %s to what is not known here: %s", step.Name, k, expression)
			}
			value, ok := inputs[m[1]]
			if !ok {
				value = a.Inputs[m[1]].Default
			}
			cmd.Env = append(cmd.Env, k+"="+value)
		}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			r.t.Fatalf("the step %s: %v\n%s", step.Name, err, tail(out.String(), 60))
		}
		said += out.String()
	}
	return said, time.Since(began)
}

// digest is the action's output of that name.
func (r *runner) digest() string {
	r.t.Helper()
	_, rest, _ := strings.Cut(r.read("output"), "digest=")
	digest, _, _ := strings.Cut(rest, "\n")
	if !strings.HasPrefix(digest, "sha256:") {
		r.t.Fatalf("no digest in the outputs:\n%s", r.read("output"))
	}
	return digest
}

// says checks lines of the job summary.
func (r *runner) says(lines ...string) {
	r.t.Helper()
	for _, line := range lines {
		if !regexp.MustCompile(`(?m)^` + line + `$`).MatchString(r.read("summary")) {
			r.t.Errorf("no line of the summary is %s:\n%s", line, r.read("summary"))
		}
	}
}

func digestIn(t *testing.T, ref string) string {
	t.Helper()
	tag, err := name.NewTag(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	desc, err := remote.Head(tag)
	if err != nil {
		t.Fatal(err)
	}
	return desc.Digest.String()
}

// pipelineSource is what the pipeline builds: the tiny engine, or with LLORCH_CI_SOURCE=llama
// llama.cpp's pinned release; and how a file of common/ is changed in it.
func pipelineSource(t *testing.T) (repo *gitrepo.Repo, change func(function string)) {
	t.Helper()
	repo, file := gitrepo.New(t, tinyengine.Tree()), "common/log.c"
	if os.Getenv("LLORCH_CI_SOURCE") == "llama" {
		bundle, err := llamasrc.Pinned.Bundle(t.Context(), filepath.Join(userCache(t), "demo"))
		if err != nil {
			t.Fatal(err)
		}
		repo.Git("fetch", "--quiet", bundle, llamasrc.Pinned.Commit)
		repo.Git("reset", "--quiet", "--hard", llamasrc.Pinned.Commit)
		file = "common/log.cpp"
	}
	return repo, func(function string) {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(repo.Dir, file))
		if err != nil {
			t.Fatal(err)
		}
		repo.Commit("add "+function, map[string]string{file: string(data) + "\nextern int " + function + ";\nint " + function + " = 1;\n"})
	}
}

// TestFixtureRunner runs the action's steps as a fresh runner does, with an empty builder, an
// empty home and a registry: first a full build; then after a commit, with the cache of the
// first run; then for a pull request from a fork.
func TestFixtureRunner(t *testing.T) {
	gate(t, "LLORCH_E2E_FIXTURE", "fixture")
	p := newProject(t)
	a, reg, dir := readAction(t), newRefusing(t), shortDir(t)
	repo, change := pipelineSource(t)
	image, cache := reg.host+"/llama:cpu", reg.host+"/llama/cache:cpu"
	t.Cleanup(func() { removeImages(t, p.api, image) })
	inputs := map[string]string{"source": repo.Dir, "ref": "HEAD", "tags": image, "push": "true", "cache": cache, "extra-flags": "--no-ui"}
	push := map[string]any{"repository": map[string]any{"full_name": "me/llama"}}
	fork := map[string]any{
		"repository":   map[string]any{"full_name": "me/llama"},
		"pull_request": map[string]any{"head": map[string]any{"repo": map[string]any{"full_name": "you/llama"}}},
	}
	run := func(what string, event any) (*runner, string, time.Duration) {
		t.Helper()
		d := standaloneIn(t, dir)
		r := newRunner(t, d.Addr, repo.Dir, event)
		said, took := r.use(a, inputs)
		disk, err := d.DiskUse(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		d.Remove()
		t.Logf("%s: %.1f s, the builder takes %s\n%s", what, took.Seconds(), units.HumanSize(float64(disk)), r.read("summary"))
		return r, said, took
	}

	first, _, cold := run("the first run", push)
	first.says("### llorch-bk", `Parts: \*\*[1-9]\d* compiled, 0 cached\*\*\.`, "\\| name \\| `"+image+"` \\|", "Objects for the next build: `"+cache+"-objects`, .* new\\.")
	if got := digestIn(t, image); got != first.digest() {
		t.Errorf("the registry has %s, and the action says %s", got, first.digest())
	}

	change("e2e_second")
	second, _, warm := run("the second run", push)
	second.says(`Parts: \*\*[12] compiled, [1-9]\d* cached\*\*\.`, "Compiler cache: \\*\\*(\\d+) of \\d+ compiles\\*\\*, \\d+ of them from `"+cache+"-objects` .*")
	if got := digestIn(t, image); got != second.digest() || got == first.digest() {
		t.Errorf("the registry has %s, the action says %s, and it was %s", got, second.digest(), first.digest())
	}
	if warm >= cold {
		t.Errorf("the second run took %s, and the first %s", warm, cold)
	}

	// Whoever sends a pull request decides what is built, and leaves nothing.
	change("e2e_fork")
	before := reg.written.Load()
	forked, said, _ := run("a fork's run", fork)
	forked.says("Compiler cache: .* of them from `" + cache + "-objects` .*")
	if n := reg.written.Load() - before; n != 0 || digestIn(t, image) != second.digest() {
		t.Errorf("a fork's run wrote to the registry %d times", n)
	}
	if !strings.Contains(said, "::notice title=llorch-bk::Nothing is pushed") {
		t.Errorf("a fork's run does not say that nothing is pushed:\n%s", tail(said, 20))
	}
}
