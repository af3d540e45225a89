package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/runtime/handoff"
)

// TestFixtureNoGPU checks that a GPU that the engine cannot provide is reported within seconds,
// and never silently replaced by the CPU.
func TestFixtureNoGPU(t *testing.T) {
	p := fixture(t)
	if _, err := os.Stat("/dev/nvidiactl"); err == nil {
		t.Skip("this machine has a GPU")
	}
	began := time.Now()
	r := p.run("run", fixtureTag, "--model", p.model(), "--gpus", "all")
	if r.code != 6 || !strings.Contains(r.stderr, "GPU") || !strings.Contains(r.stderr, "--allow-cpu") {
		t.Errorf("a GPU that is not there: %s", r)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %v", took)
	}
	if _, ok := p.handoff("default"); ok || len(p.containers()) > 0 {
		t.Errorf("left: a handoff %v, containers %v", ok, p.containers())
	}
	r = p.must("run", fixtureTag, "--model", p.model(), "--gpus", "all", "--allow-cpu", "--progress", "plain")
	if !strings.Contains(r.stderr, "runs on the CPU") {
		t.Errorf("the user is not told: %s", r)
	}
	h, ok := p.handoff("default")
	if !ok || h.GPU != nil || h.DeviceMask != "" || !slices.Contains(h.Flags, "--n-gpu-layers") {
		t.Errorf("the handoff is %v %+v", ok, h)
	}
	// Once more: it runs as it should, and is left alone.
	if r := p.must("run", fixtureTag, "--model", p.model(), "--gpus", "all", "--allow-cpu"); !strings.Contains(r.stdout+r.stderr, "already") {
		t.Errorf("it is not found running: %s", r)
	}
	p.must("stop")
	p.leftNothing()
}

// vulkan builds the Vulkan variant and runs it on Mesa's CPU driver, which the server treats
// as a GPU.
func vulkan(t *testing.T, p *project, flags ...string) {
	t.Helper()
	ref := realModel(t, p)
	args := slices.Concat([]string{"up", "--variant", "vulkan", "--gpus", "0", "--model", ref, "--cpu", "native", "--tag", "llorch-e2e:vulkan"}, realSource(t), flags)
	p.must(append(args, "--", "--ctx-size", "256")...)
	t.Cleanup(func() { removeImages(t, p.api, "llorch-e2e:vulkan") })
	h, ok := p.handoff("default")
	if !ok {
		t.Fatal("there is no handoff")
	}
	proven(t, h)
	k, ok := known[filepath.Base(h.Model.Path)]
	if !ok {
		t.Fatalf("nobody knows what %s answers", h.Model.Path)
	}
	code, body := answer(t, http.MethodPost, h.URL+"/completion", map[string]any{"prompt": k.prompt, "n_predict": 24, "temperature": 0})
	var got struct{ Content string }
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != http.StatusOK || got.Content != k.completion {
		t.Errorf("/completion: %d %s", code, body)
	}
	// A handoff that is lost is written anew, from the server's own lines.
	if err := os.Remove(filepath.Join(p.handoffDir(), "llamacpp.json")); err != nil {
		t.Fatal(err)
	}
	p.must("ps")
	if h, ok := p.handoff("default"); !ok {
		t.Error("ps did not write the handoff again")
	} else {
		proven(t, h)
	}
	p.must("stop")

	// Without its number Mesa's driver for the CPU is hidden from the server, and a
	// number that there is none of is nobody.
	for _, gpus := range []string{"all", "7"} {
		r := p.run("run", "llorch-e2e:vulkan", "--model", ref, "--gpus", gpus)
		if r.code != 6 || !strings.Contains(r.stderr, "--gpus") {
			t.Errorf("--gpus %s: %s", gpus, r)
		}
		if _, ok := p.handoff("default"); ok || len(p.containers()) > 0 {
			t.Errorf("--gpus %s left: a handoff %v, containers %v", gpus, ok, p.containers())
		}
	}
	p.leftNothing()
}

func proven(t *testing.T, h handoff.Handoff) {
	t.Helper()
	if h.GPU == nil || h.GPU.Backend != "Vulkan" || len(h.GPU.Devices) != 1 || !strings.Contains(h.GPU.Devices[0].Description, "llvmpipe") || h.DeviceMask != "0" {
		t.Fatalf("the handoff's gpu is %+v, its mask %q", h.GPU, h.DeviceMask)
	}
	evidence := strings.Join(h.GPU.Evidence, "\n")
	t.Logf("evidence:\n%s", evidence)
	for _, want := range []string{"layers to GPU", "Vulkan0 model buffer size"} {
		if !strings.Contains(evidence, want) {
			t.Errorf("the evidence has no %q", want)
		}
	}
}
