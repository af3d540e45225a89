package app

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/fixtures/hub"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/model"
	"github.com/llorch/llorch-bk/runtime/pool"
)

// fromOutside is a program whose store has a model of a hub, fetched by a request.
func fromOutside(t *testing.T) (*App, checkedRun, model.Local) {
	t.Helper()
	var tiny bytes.Buffer
	if err := gguf.WriteTinyLlama(&tiny); err != nil {
		t.Fatal(err)
	}
	h := hub.New(t)
	h.Add("org/tiny", "tiny.gguf", tiny.Bytes())
	dir := t.TempDir()
	env := map[string]string{"HF_ENDPOINT": h.Endpoint(), "LLORCH_MODEL_DIR": filepath.Join(dir, "store"), "LLORCH_CACHE_DIR": filepath.Join(dir, "cache")}
	a := &App{Out: t.Output(), Err: t.Output(), Getenv: func(name string) string { return env[name] }, Progress: "plain"}
	r := checkedRun{}
	var err error
	if r.ref, err = model.Parse("hf:org/tiny/tiny.gguf"); err != nil {
		t.Fatal(err)
	}
	_, l := fetched(t, a, r.ref)
	return a, r, l
}

// A model from outside is tried once, whatever it is called the next time.
func TestTrialIsRemembered(t *testing.T) {
	t.Parallel()
	a, r, l := fromOutside(t)
	known, why, err := a.trial(r, l)
	if err != nil || !strings.HasPrefix(why, "new from 127.0.0.1") {
		t.Fatalf("%q, %v", why, err)
	}
	if err := known.add(imageOf{ID: "sha256:1234"}); err != nil {
		t.Fatal(err)
	}
	if _, why, err := a.trial(r, l); err != nil || why != "" {
		t.Errorf("the second time: %q, %v", why, err)
	}
	other := l
	other.Ref.Raw = "hf:org/other/name.gguf"
	if _, why, err := a.trial(r, other); err != nil || why != "" {
		t.Errorf("by another name: %q, %v", why, err)
	}
	body, err := os.ReadFile(known.file)
	if err != nil || !strings.Contains(string(body), "sha256:1234") || !strings.Contains(string(body), "hf:org/tiny/tiny.gguf") {
		t.Errorf("it is remembered as %s, %v", body, err)
	}
}

func TestTrialIsFor(t *testing.T) {
	t.Parallel()
	a, r, l := fromOutside(t)
	for name, c := range map[string]struct {
		ref   string
		trust bool
		local model.Local
		want  string
	}{
		"a file of the user's own":   {"/m/x.gguf", false, model.Local{Path: "/m/x.gguf"}, ""},
		"one that is trusted":        {r.ref.Raw, true, l, ""},
		"one that is not here":       {"hf:org/tiny/other.gguf", false, model.Local{Path: "/not/fetched/yet.gguf"}, "new from 127.0.0.1"},
		"one of a URL":               {"https://example.com/m.gguf?secret=x", false, model.Local{}, "new from example.com"},
		"one of Docker Hub":          {"oci://ai/smollm2", false, model.Local{}, "new from docker.io"},
		"one of a registry's":        {"oci://registry.example.com/m/x:1", false, model.Local{}, "new from registry.example.com"},
		"one that was fetched, here": {r.ref.Raw, false, l, "new from 127.0.0.1"},
	} {
		q := r
		q.Trust = c.trust
		var err error
		if q.ref, err = model.Parse(c.ref); err != nil {
			t.Fatal(err)
		}
		_, why, err := a.trial(q, c.local)
		if err != nil || !strings.HasPrefix(why, c.want) || c.want == "" && why != "" {
			t.Errorf("%s: %q, %v; want %q", name, why, err, c.want)
		}
	}
}

// trier is an engine that only tries models.
type trier struct {
	engine.Engine
	err error
}

func (e trier) Try(context.Context, engine.Spec, time.Duration) error { return e.err }

// What came of a trial is said with what it took, and only a model that was loaded is
// remembered.
func TestTryOperation(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err        error
		remembered int
		fails      bool
		said       string
	}{
		"loaded":    {nil, 1, false, "it was loaded in "},
		"refused":   {fault.New(fault.Model, "refused", nil, ""), 0, true, ""},
		"not tried": {engine.ErrUntried, 0, false, "not tried"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			d, err := OpenDisplay(&out, "plain")
			if err != nil {
				t.Fatal(err)
			}
			remembered := 0
			o := &operations{d: d, eng: trier{err: c.err}, tried: func() error { remembered++; return nil }}
			_, err = o.Do(t.Context(), pool.Op{Do: pool.Try, Spec: &engine.Spec{}})
			d.Close()
			if (err != nil) != c.fails || remembered != c.remembered || !strings.Contains(out.String(), c.said) {
				t.Errorf("%v, remembered %d times, said:\n%s", err, remembered, out.String())
			}
		})
	}
}
