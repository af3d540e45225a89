package model

import (
	"bytes"
	"io"
	"testing"

	fixture "github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/fixtures/hub"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

func written(t *testing.T, write func(io.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// listings are how often the Hub was asked for what a repository has.
func listings(h *hub.Hub) (n int) {
	for _, r := range h.Requests() {
		if r.Place == hub.API {
			n++
		}
	}
	return n
}

// A model's projector comes with it, as llama.cpp's own -hf chooses it, and the
// repository is asked once for each commit.
func TestCompanion(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	projector := written(t, func(w io.Writer) error { return fixture.WriteProjector(w, 320) })
	r.hub.Add("org/eye", "eye-Q8_0.gguf", tinyModel(t))
	r.hub.Add("org/eye", "mmproj-eye-f16.gguf", projector)
	r.hub.Add("org/eye", "mmproj-eye-Q8_0.gguf", append(bytes.Clone(projector), 0))
	l, err := r.fetch(t, "hf:org/eye/eye-Q8_0.gguf")
	if err != nil {
		t.Fatal(err)
	}
	got, ok, err := r.Companion(t.Context(), l, gguf.SidecarProjector)
	if err != nil || !ok || got.Ref.File != "mmproj-eye-Q8_0.gguf" || got.Commit != l.Commit || got.Size != int64(len(projector))+1 {
		t.Fatalf("%+v, %t, %v", got, ok, err)
	}
	if _, ok, err := r.Companion(t.Context(), l, gguf.SidecarMTP); ok || err != nil {
		t.Errorf("a head that is not there: %t, %v", ok, err)
	}
	before := listings(r.hub)
	for _, again := range []*rig{r, r.again()} {
		for kind, want := range map[gguf.Sidecar]bool{gguf.SidecarProjector: true, gguf.SidecarMTP: false} {
			if _, ok, err := again.Companion(t.Context(), l, kind); ok != want || err != nil {
				t.Errorf("%s once more: %t, %v", kind, ok, err)
			}
		}
		again.Store.Release()
	}
	if n := listings(r.hub) - before; n != 0 {
		t.Errorf("the repository was listed %d times more", n)
	}
	off := r.again()
	off.Environment.Offline = true
	if _, ok, err := off.Companion(t.Context(), l, gguf.SidecarProjector); !ok || err != nil {
		t.Errorf("offline: %t, %v", ok, err)
	}
	off.Store.Release()

	// Both are one model to the list, and go together.
	all := list(t, r)
	if len(all) != 1 || len(all[0].Companions) != 1 || all[0].Companions[0].Kind != "mmproj" || all[0].Companions[0].Size != got.Size {
		t.Fatalf("the list is %+v", all)
	}
	if freed, err := r.Store.Remove(all[0]); err != nil || freed != l.Size+got.Size {
		t.Errorf("freed %d, %v", freed, err)
	}
	if left := tree(t, r.Store.Dir()); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// A projector of two models stays as long as one of them does.
func TestSharedCompanion(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hub.Add("org/eye", "eye-Q8_0.gguf", tinyModel(t))
	r.hub.Add("org/eye", "eye-Q4_0.gguf", aModel(size, 3))
	r.hub.Add("org/eye", "mmproj-eye.gguf", written(t, func(w io.Writer) error { return fixture.WriteProjector(w, 320) }))
	for _, file := range []string{"eye-Q8_0.gguf", "eye-Q4_0.gguf"} {
		l, err := r.fetch(t, "hf:org/eye/"+file)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok, err := r.Companion(t.Context(), l, gguf.SidecarProjector); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	all := list(t, r)
	if len(all) != 2 {
		t.Fatalf("the list is %q", refs(all))
	}
	if _, err := r.Store.Remove(all[0]); err != nil {
		t.Fatal(err)
	}
	if all = list(t, r); len(all) != 1 || len(all[0].Companions) != 1 {
		t.Fatalf("after one went: %+v", all)
	}
	if _, err := r.Store.Remove(all[0]); err != nil {
		t.Fatal(err)
	}
	if left := tree(t, r.Store.Dir()); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// A mirror that cannot list, and a file that is in no repository, have no companion, and
// that is no failure.
func TestNoCompanion(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hub.Add("org/eye", "eye.gguf", tinyModel(t))
	l, err := r.fetch(t, "hf:org/eye/eye.gguf")
	if err != nil {
		t.Fatal(err)
	}
	r.hub.Break(hub.API, "GET", 10, hub.Status(501, ""))
	if _, ok, err := r.Companion(t.Context(), l, gguf.SidecarProjector); ok || err != nil {
		t.Errorf("without a listing: %t, %v", ok, err)
	}
	if !r.events.said("cannot be told") {
		t.Errorf("nobody was told: %q", r.events.notes)
	}
	web, err := r.fetch(t, r.hub.Serve("m.gguf", `"1"`, tinyModel(t)))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := r.Companion(t.Context(), web, gguf.SidecarProjector); ok || err != nil {
		t.Errorf("of a plain URL: %t, %v", ok, err)
	}
}

// A repository named as a draft means the head in it, else a model; named as a projector,
// its projector.
func TestRefsOfCompanions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hub.Add("org/heads", "m-Q8_0.gguf", tinyModel(t))
	r.hub.Add("org/heads", "mtp-m-Q8_0.gguf", aModel(size, 1))
	r.hub.Add("org/heads", "mmproj-m.gguf", aModel(size, 2))
	r.hub.Add("org/plain", "p-Q8_0.gguf", tinyModel(t))
	for raw, want := range map[string]string{"hf:org/heads": "mtp-m-Q8_0.gguf", "hf:org/plain": "", "hf:org/heads/m-Q8_0.gguf": "", "./m.gguf": ""} {
		got, kind, ok, err := r.Sidecar(t.Context(), parse(t, raw))
		if err != nil || ok != (want != "") || ok && (got.File != want || kind != gguf.SidecarMTP) {
			t.Errorf("%s as a draft: %q, %s, %t, %v", raw, got.File, kind, ok, err)
		}
	}
	if got, err := r.Projector(t.Context(), parse(t, "hf:org/heads")); err != nil || got.File != "mmproj-m.gguf" {
		t.Errorf("as a projector: %q, %v", got.File, err)
	}
	_, err := r.Projector(t.Context(), parse(t, "hf:org/plain"))
	wantFault(t, err, fault.Model, "hf:org/plain", "no projector")
}

// A companion is what its header says it is, and is checked as a model is.
func TestExamineAs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hub.Add("org/x", "model.gguf", tinyModel(t))
	r.hub.Add("org/x", "broken.gguf", aModel(size, 4))
	l, err := r.fetch(t, "hf:org/x/model.gguf")
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.ExamineAs("a projector", gguf.Projector)
	wantFault(t, err, fault.Model, "hf:org/x/model.gguf cannot be a projector: it is a model")
	for _, want := range [][]gguf.Role{{gguf.Draft, gguf.Model}, nil} {
		if facts, err := l.ExamineAs("a draft", want...); err != nil || facts.Architecture != "llama" {
			t.Errorf("%+v, %v", facts, err)
		}
	}
	broken, err := r.fetch(t, "hf:org/x/broken.gguf")
	if err != nil {
		t.Fatal(err)
	}
	_, err = broken.ExamineAs("a projector")
	wantFault(t, err, fault.Model, "hf:org/x/broken.gguf cannot be a projector", "header")
}
