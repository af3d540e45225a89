package app

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/model"
)

// instance is a container that serves at url, with labels.
func instance(url string, labels map[string]string) engine.Server {
	l := runLabels(checkedRun{ref: model.Ref{Raw: "file:m.gguf"}}, "", "", []string{"--metrics"})
	for name, value := range labels {
		l[name] = value
	}
	return engine.Server{
		ID: "c0ffee", Name: "llorch-chat-r1-00000000", Project: "/p", Pool: "chat", Replica: "r1", RunDigest: "sha256:2222",
		Image: "sha256:1111", ImageRef: "llorch-bk:test", URL: url, Handoff: "/p/llamacpp-chat-r1.json", ModelPath: "/models/m.gguf",
		Labels: l, State: engine.State{Status: "running", Running: true, StartedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))},
	}
}

// nobody is the URL of a server that is not there.
const nobody = "http://127.0.0.1:1"

func TestDescribe(t *testing.T) {
	t.Parallel()
	url := llama(t, nil)
	labels := map[string]string{
		images.LabelCommit: "de3ff81000000000000000000000000000000000", images.LabelRef: "v0.5.0", images.LabelVariant: "cuda",
		images.LabelRecipe: "sha256:3333", engine.LabelDeviceMask: "0,1",
	}
	got, err := describe(t.Context(), instance(url, labels))
	if err != nil {
		t.Fatal(err)
	}
	want := handoff.Handoff{
		Engine: "llamacpp", EngineVersion: "b4242-abcdef0", ProvisioningMode: handoff.ModeSource, URL: url, PoolID: "chat", ReplicaID: "r1",
		Model: handoff.Model{ID: "file:m.gguf", Path: "/models/m.gguf"}, Flags: []string{"--metrics"},
		Schema: handoff.Schema, Image: handoff.Image{Ref: "llorch-bk:test", ID: "sha256:1111", Recipe: "sha256:3333"},
		Container:  handoff.Container{ID: "c0ffee", Name: "llorch-chat-r1-00000000"},
		SlotsTotal: 3, DeviceMask: "0,1", RunDigest: "sha256:2222", Commit: labels[images.LabelCommit],
		StartedAt: time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC),
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(handoff.Handoff{}, "ReadyAt")); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if since := time.Since(got.ReadyAt); since < 0 || since > time.Minute || got.ReadyAt.Location() != time.UTC {
		t.Errorf("ready at %v", got.ReadyAt)
	}
}

// A server that does not say what it is, is named by what it was made from.
func TestDescribeNamesTheVersion(t *testing.T) {
	t.Parallel()
	const commit = "de3ff81000000000000000000000000000000000"
	for name, c := range map[string]struct {
		labels        map[string]string
		version, mode string
	}{
		"built from a ref":    {map[string]string{images.LabelCommit: commit, images.LabelRef: "v0.5.0", images.LabelVariant: "cpu"}, "llamacpp-source:v0.5.0-cpu", handoff.ModeSource},
		"built from a HEAD":   {map[string]string{images.LabelCommit: commit, images.LabelRef: "HEAD", images.LabelVariant: "cpu"}, "llamacpp-source:" + commit + "-cpu", handoff.ModeSource},
		"built from a commit": {map[string]string{images.LabelCommit: commit, images.LabelVariant: "cuda"}, "llamacpp-source:" + commit + "-cuda", handoff.ModeSource},
		"a foreign image":     {nil, "llorch-bk:test", handoff.ModeContainer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := describe(t.Context(), instance(nobody, c.labels))
			if err != nil {
				t.Fatal(err)
			}
			if got.EngineVersion != c.version || got.ProvisioningMode != c.mode || got.SlotsTotal != 0 {
				t.Errorf("version %q, mode %q, slots %d; want %q, %q, 0", got.EngineVersion, got.ProvisioningMode, got.SlotsTotal, c.version, c.mode)
			}
		})
	}
}

// A server whose tree asked git for its version, and found none, is named likewise.
func TestDescribeOfAServerThatDoesNotKnow(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"build_info": "b0-unknown", "total_slots": 1})
	}))
	t.Cleanup(server.Close)
	labels := map[string]string{images.LabelCommit: "de3ff81", images.LabelRef: "b5415", images.LabelVariant: "cpu"}
	got, err := describe(t.Context(), instance(server.URL, labels))
	if err != nil || got.EngineVersion != "llamacpp-source:b5415-cpu" {
		t.Errorf("version %q, %v", got.EngineVersion, err)
	}
}

func TestDescribeFails(t *testing.T) {
	t.Parallel()
	if _, err := describe(t.Context(), instance(nobody, map[string]string{engine.LabelFlags: "none"})); err == nil || !strings.Contains(err.Error(), engine.LabelFlags) {
		t.Errorf("error = %v, want one about %s", err, engine.LabelFlags)
	}
	reason := errors.New("the user went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	if _, err := describe(ctx, instance(nobody, nil)); !errors.Is(err, reason) {
		t.Errorf("error = %v, want %v", err, reason)
	}
}

func TestRunLabels(t *testing.T) {
	t.Parallel()
	r := checkedRun{ref: model.Ref{Raw: "hf:org/repo/m.gguf"}}
	for name, c := range map[string]struct {
		gpus   string
		device string
		flags  []string
		want   map[string]string
	}{
		"no flags": {"", "", nil, map[string]string{engine.LabelModel: "hf:org/repo/m.gguf", engine.LabelFlags: "[]"}},
		"flags":    {"", "", []string{"--alias", `a "b"`}, map[string]string{engine.LabelModel: "hf:org/repo/m.gguf", engine.LabelFlags: `["--alias","a \"b\""]`}},
		"GPUs":     {"0,1", "CUDA", nil, map[string]string{engine.LabelModel: "hf:org/repo/m.gguf", engine.LabelFlags: "[]", engine.LabelDeviceMask: "0,1", labelDevice: "CUDA"}},
	} {
		if d := cmp.Diff(c.want, runLabels(r, c.gpus, c.device, c.flags)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}
