package buildkit

import (
	"context"
	"crypto/rand"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/source"
	"github.com/moby/buildkit/client"
)

func TestDockerBuildsAnImageThatRuns(t *testing.T) {
	docker := engine(t)
	b := embedded(t, docker)
	dir := tree(t, nil)
	// The engine remembers what an earlier run of this test compiled.
	mark := "one two " + rand.Text()
	j := prepare(t, b, dir, "-DGGML_TEST_MARK="+mark)
	res, first := build(t, docker, b, j)
	if !strings.Contains(first.log.String(), "Cacheable calls") {
		t.Errorf("the compile went past ccache:\n%s", first.log.String())
	}

	tag := j.Plan.Image.Tags[0]
	got, err := docker.ImageInspect(t.Context(), tag)
	if err != nil {
		t.Fatal(err)
	}
	if res.Digest != got.ID {
		t.Errorf("the build says %q, the engine %q", res.Digest, got.ID)
	}
	if got.Config.User != images.User {
		t.Errorf("user %q", got.Config.User)
	}
	if diff := cmp.Diff([]string{images.Server}, got.Config.Entrypoint); diff != "" {
		t.Error(diff)
	}
	if h := got.Config.Healthcheck; h == nil || !slices.Equal(h.Test, []string{"CMD", images.Probe, "health"}) || h.Interval != 10*time.Second {
		t.Errorf("healthcheck %+v", h)
	}
	if diff := cmp.Diff(j.Plan.Image.Labels, got.Config.Labels); diff != "" {
		t.Errorf("labels (-planned +built):\n%s", diff)
	}
	if got.Created != "2026-01-02T03:04:05Z" {
		t.Errorf("created %s, want the commit's time", got.Created)
	}
	if !slices.Contains(got.Config.Env, "LLAMA_ARG_HOST=0.0.0.0") || !slices.ContainsFunc(got.Config.Env, func(e string) bool { return strings.HasPrefix(e, "PATH=") }) {
		t.Errorf("environment %q", got.Config.Env)
	}

	t.Run("says what it is", func(t *testing.T) {
		id := started(t, docker, tag, "--version")
		wait, errs := docker.ContainerWait(t.Context(), id, container.WaitConditionNotRunning)
		select {
		case s := <-wait:
			want := "commit " + j.Plan.Source.Short + " mark " + mark + " uid 65532\n"
			if out := logs(t, docker, id); s.StatusCode != 0 || out != want {
				t.Errorf("exit %d, said %q, want %q", s.StatusCode, out, want)
			}
		case err := <-errs:
			t.Fatal(err)
		}
	})

	// The probe asks the port of the running server's command line.
	t.Run("is healthy on another port", func(t *testing.T) {
		id := started(t, docker, tag, "--port", "9123")
		var code int
		var out string
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
			if code, out = execIn(t, docker, id, images.Probe, "health"); code == 0 {
				break
			}
		}
		if code != 0 || out != "HTTP/1.1 200 OK\n" {
			t.Errorf("exit %d, said %q\n%s", code, out, logs(t, docker, id))
		}
		if code, out := execIn(t, docker, id, images.Probe, "readable", "/nope"); code != 1 || !strings.Contains(out, "No such file") {
			t.Errorf("readable: exit %d, said %q", code, out)
		}
		if code, out := execIn(t, docker, id, images.Probe, "readable", "/usr/share/licenses/llama.cpp/LICENSE"); code != 1 || !strings.Contains(out, "not a GGUF file") {
			t.Errorf("readable: exit %d, said %q", code, out)
		}
	})

	// What does not make the image's content must not compile anything.
	t.Run("again", func(t *testing.T) {
		j := j
		j.Jobs = 1
		j.Plan.Image.Labels = map[string]string{"other": "label"}
		// In the first minute after its start, the BuildKit of an old engine was seen
		// to compile once more what it had just compiled; why is not known.
		if b.OneAtATime(j.Capabilities) {
			build(t, docker, b, j)
		}
		_, s := build(t, docker, b, j)
		for _, step := range []string{"[toolchain]", "[compile]", "[probe]"} {
			if !s.of(t, step) {
				t.Errorf("step %s ran again: %v\n%s", step, s.cached, s.log.String())
			}
		}
	})
	t.Run("after a change elsewhere in the tree", func(t *testing.T) {
		other := prepare(t, b, tree(t, map[string]string{"README": mark}), "-DGGML_TEST_MARK="+mark)
		_, s := build(t, docker, b, other)
		if !s.of(t, "[toolchain]") || s.of(t, "[compile]") {
			t.Error("another commit is to compile, and not to install")
		}
	})
}

func TestDockerFreshCompilesWithAWarmCompilerCache(t *testing.T) {
	docker := engine(t)
	b := embedded(t, docker)
	j := prepare(t, b, tree(t, nil), "-DGGML_TEST_MARK=fresh")
	build(t, docker, b, j)
	j.Fresh = true
	_, s := build(t, docker, b, j)
	if s.of(t, "[toolchain]") || s.of(t, "[compile]") {
		t.Error("a fresh build came from the cache")
	}
	// ccache's own words for "all of them".
	if out := s.log.String(); !strings.Contains(out, "(100.0%)") {
		t.Errorf("the compiler cache was cold:\n%s", out)
	}
}

func TestDockerBrokenSource(t *testing.T) {
	docker := engine(t)
	b := embedded(t, docker)
	j := prepare(t, b, tree(t, map[string]string{"ggml/cpu.c": "this is no C\n"}))
	_, err := b.Build(t.Context(), j)
	if fault.ClassOf(err) != fault.Build {
		t.Fatalf("class %d: %v", fault.ClassOf(err), err)
	}
	report := fault.Report(err)
	if !strings.Contains(err.Error(), "[compile] llama-server") || !strings.Contains(report, "cpu.c:1:1: error:") {
		t.Errorf("the report does not show the compiler's error:\n%s", report)
	}
	t.Log(report)
}

func TestDockerUnknownPackage(t *testing.T) {
	docker := engine(t)
	b := embedded(t, docker)
	j := prepare(t, b, tree(t, nil))
	j.Plan.Packages = []images.Package{{Name: "llorch-no-such-package"}}
	_, err := b.Build(t.Context(), j)
	if report := fault.Report(err); fault.ClassOf(err) != fault.Build || !strings.Contains(report, "Unable to locate package") || !strings.Contains(report, "network and proxy") {
		t.Errorf("class %d\n%s", fault.ClassOf(err), report)
	}
}

func TestDockerCollect(t *testing.T) {
	docker := engine(t)
	b := embedded(t, docker)
	if !b.Embedded || b.Address != Auto {
		t.Errorf("%+v", b)
	}
	c, err := source.Resolver{Dir: t.TempDir()}.Resolve(t.Context(), tree(t, nil), "")
	if err != nil {
		t.Fatal(err)
	}
	r := images.Request{Source: c.Location, Variant: "cpu", Platform: "linux/" + runtime.GOARCH, Base: testBase, CPU: images.CPUPortable}

	t.Run("a base of this engine is named by its content", func(t *testing.T) {
		img, err := docker.ImageInspect(t.Context(), testBase)
		if err != nil {
			t.Fatal(err)
		}
		f, err := b.Collect(t.Context(), Query{Request: r, Checkout: c, Notice: func(s string) { t.Log(s) }})
		if err != nil {
			t.Fatal(err)
		}
		if f.Build.Ref != testBase || f.Build.Digest != "" || f.Build.ID != img.ID {
			t.Errorf("got %+v, want the id %s", f.Build, img.ID)
		}
		if diff := cmp.Diff(f.Build, f.Runtime); diff != "" {
			t.Errorf("one base, two facts:\n%s", diff)
		}
	})
	t.Run("no such base", func(t *testing.T) {
		r := r
		r.Base = "llorch.local/no-such-base:1"
		start := time.Now()
		_, err := b.Collect(t.Context(), Query{Request: r, Checkout: c, Notice: func(s string) { t.Log(s) }})
		if fault.ClassOf(err) != fault.Machine || !strings.Contains(err.Error(), "cannot pull the base image llorch.local/no-such-base:1") {
			t.Errorf("class %d after %s\n%s", fault.ClassOf(err), time.Since(start), fault.Report(err))
		}
	})
}

func TestDockerCancelled(t *testing.T) {
	docker := engine(t)
	b := embedded(t, docker)
	j := prepare(t, b, tree(t, nil), "-DGGML_TEST_MARK=cancelled")
	cause := fault.New(fault.Interrupted, "interrupted", nil, "")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	// At the first sign of life.
	j.Status = func(*client.SolveStatus) { cancel(cause) }
	j.Fresh = true
	if _, err := b.Build(ctx, j); fault.ClassOf(err) != fault.Interrupted {
		t.Errorf("class %d: %v", fault.ClassOf(err), err)
	}
}
