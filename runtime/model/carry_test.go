package model

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/llorch/llorch-bk/fixtures/hub"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

// A model that was carried to a store without a network is what the ref means there.
func TestCarriedModelNeedsNoNetwork(t *testing.T) {
	t.Parallel()
	h := hub.New(t)
	content := aModel(64<<10, 1)
	h.Add("org/repo", "tiny-Q8_0.gguf", content)
	here := &Fetcher{Environment: Environment{Endpoint: h.Endpoint()}}
	var err error
	if here.Store, err = store.Open(filepath.Join(t.TempDir(), "models")); err != nil {
		t.Fatal(err)
	}
	r, err := Parse("hf:org/repo:Q8_0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := here.Fetch(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	files, err := here.Carry(t.Context(), l)
	if err != nil || len(files) != 1 {
		t.Fatalf("%+v, %v", files, err)
	}
	there, err := store.Open(filepath.Join(t.TempDir(), "models"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // Once more changes nothing.
		if err := there.Accept(t.Context(), files[0]); err != nil {
			t.Fatal(err)
		}
	}
	away := &Fetcher{Store: there, Environment: Environment{Endpoint: "http://127.0.0.1:1", Offline: true}}
	got, err := away.Fetch(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if got.SHA256 != l.SHA256 || got.Commit != l.Commit || got.Rel != l.Rel {
		t.Errorf("%+v, want %+v", got, l)
	}
	data, err := os.ReadFile(got.Path)
	if err != nil || string(data) != string(content) {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	want, err := here.Store.List()
	if err != nil {
		t.Fatal(err)
	}
	if all, err := there.List(); err != nil || len(all) != 1 || all[0].Ref != want[0].Ref {
		t.Errorf("%+v, %v, want %+v", all, err, want)
	}
}

// A bundle from outside names no place that is not the store's.
func TestAcceptRefusesOtherPlaces(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(file, aModel(100, 1), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := "0000000000000000000000000000000000000000000000000000000000000000"
	for _, c := range []Carried{
		{File: "models--o--r/snapshots/c"},
		{File: "models--o--r/blobs/c/x.gguf"},
		{File: "../snapshots/c/x.gguf"},
		{File: "models--o--r/snapshots/../x.gguf"},
		{File: "models--o--r/snapshots/c/../../../x.gguf"},
		{File: "models--o--r/snapshots/c//etc/passwd"},
		{File: "models--o--r/snapshots/c/x.gguf", Revision: "../../x"},
		{File: "models--o--r/snapshots/c/x.gguf", SHA256: "../x"},
	} {
		c.Path = file
		if c.SHA256 == "" {
			c.SHA256 = sum
		}
		s, err := store.Open(filepath.Join(t.TempDir(), "models"))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Accept(t.Context(), c); err == nil {
			t.Errorf("%+v was taken", c)
		}
		if _, err := os.Stat(s.Dir()); err == nil {
			t.Errorf("%+v left something", c)
		}
	}
	own := Local{Ref: Ref{Raw: "x.gguf", Kind: ref.File}}
	if _, err := (&Fetcher{}).Carry(t.Context(), own); fault.ClassOf(err) != fault.Usage {
		t.Error(err)
	}
}
