package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/handoff"
)

// tinyFile is a model of the user's own.
func tinyFile(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	if err := gguf.WriteTinyLlama(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tiny.gguf")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A dry run plans with what is there, and changes nothing: no server, no handoff, no
// download.
func TestDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := startEngine(t)
	f.env["LLORCH_MODEL_DIR"] = filepath.Join(dir, "store")
	f.addImage("sha256:1111", "llorch-bk:test", time.Now(), map[string]string{"dev.llorch.variant": "cpu"})
	path := put(t, dir, "default", "r0", "c1")
	f.addServer("c1", dir, "default", "r0", nobody, path)
	for name, c := range map[string]struct{ model, want string }{
		"a file":           {tinyFile(t), "its model is another one"},
		"one of the Hub's": {"hf:org/none/x.gguf", "fetch the model: it is not on this machine"},
	} {
		opt := options(dir)
		opt.Model = c.model
		plan, err := f.app(t).PlanRun(t.Context(), opt)
		if err != nil || plan.Refused != nil || !strings.Contains(plan.String(), c.want) {
			t.Errorf("%s: %v, %v, want %q in\n%s", name, err, plan.Refused, c.want, plan)
		}
	}
	opt := options(dir)
	opt.Model = filepath.Join(dir, "absent.gguf")
	if _, err := f.app(t).PlanRun(t.Context(), opt); fault.ClassOf(err) != fault.Model {
		t.Errorf("a file that is absent: %v", err)
	}
	plan, err := f.app(t).PlanStop(t.Context(), StopOptions{HandoffDir: dir})
	if err != nil || !strings.Contains(plan.String(), "remove handoff llamacpp.json") {
		t.Errorf("stop: %v\n%s", err, plan)
	}
	if got := f.done(); len(got) > 0 || !exists(t, path) {
		t.Errorf("the engine was told %v; the handoff is there: %v", got, exists(t, path))
	}
}

// The handoff of a pool that serves on another engine is not taken over.
func TestRunBesideAnotherEngine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := startEngine(t)
	f.addImage("sha256:1111", "llorch-bk:test", time.Now(), map[string]string{"dev.llorch.variant": "cpu"})
	opt := options(dir)
	opt.Model = tinyFile(t)
	write := func(url string) string {
		path, err := handoff.Write(dir, handoff.Handoff{PoolID: "default", ReplicaID: "r0", URL: url, EngineID: "ANOTHER", Container: handoff.Container{ID: "c9"}})
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := write(llama(t, nil))
	_, err := f.app(t).Run(t.Context(), opt)
	if fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), "another engine") || !exists(t, path) {
		t.Errorf("%v; the handoff is there: %v", err, exists(t, path))
	}
	if got := f.done(); len(got) > 0 {
		t.Errorf("the engine was told %v", got)
	}
	// One that nobody answers for is no obstacle.
	write(nobody)
	plan, err := f.app(t).PlanRun(t.Context(), opt)
	if err != nil || plan.Refused != nil {
		t.Errorf("%v, %v", err, plan.Refused)
	}
}

// Ctrl-C says what could not be cleaned up.
func TestInterruptedKeepsWhatIsLeft(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	left := errors.Join(context.Canceled, &fault.Leftover{What: "the container x is left behind", Why: errors.New("busy"), Do: "docker rm -f x"})
	if err := interrupted(ctx, left); !errors.Is(err, left) {
		t.Errorf("nobody interrupted: %v", err)
	}
	cancel()
	err := interrupted(ctx, left)
	if fault.ClassOf(err) != fault.Interrupted || !strings.Contains(fault.Report(err), "docker rm -f x") || !strings.Contains(err.Error(), "busy") {
		t.Errorf("%s", fault.Report(err))
	}
	if err := interrupted(ctx, context.Canceled); fault.Report(err) != "interrupted\n" {
		t.Errorf("nothing is left: %s", fault.Report(err))
	}
}
