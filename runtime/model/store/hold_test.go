package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// another is a second process on the same store.
func another(t *testing.T, s *Store) *Store {
	t.Helper()
	o, err := Open(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// A model that a process holds is removed by no other one until it lets go.
func TestHold(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	d := repo(s, "org/name")
	fetched(t, d, commit1, "m.gguf", model(100, "x"))
	fetched(t, d, commit2, "m.gguf", model(100, "x")) // the same content
	run, gc := another(t, s), another(t, s)
	if err := errors.Join(run.Hold(t.Context(), d.File(commit1, "m.gguf")), run.Hold(t.Context(), d.File(commit1, "m.gguf"))); err != nil {
		t.Fatal(err)
	}
	all, err := gc.List()
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	for _, m := range all {
		if _, err := gc.Remove(m); !errors.Is(err, ErrInUse) {
			t.Errorf("%s: %v", m.Path, err)
		}
		if !exists(m.Path) {
			t.Errorf("%s is gone", m.Path)
		}
	}
	run.Release()
	for _, m := range all {
		if _, err := gc.Remove(m); err != nil {
			t.Errorf("%s: %v", m.Path, err)
		}
	}
	if err := run.Hold(t.Context(), d.File(commit1, "m.gguf")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is gone is held: %v", err)
	}
}

// What a removal finds out at the last moment counts, and nobody can begin to use the
// model from then on.
func TestRemoveIf(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	d := repo(s, "org/name")
	fetched(t, d, commit1, "m.gguf", model(100, "x"))
	all, err := s.List()
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	served := errors.New("a pool serves it")
	if _, err := s.RemoveIf(all[0], func() error { return served }); !errors.Is(err, served) || !exists(all[0].Path) {
		t.Errorf("%v", err)
	}
	run := another(t, s)
	_, err = s.RemoveIf(all[0], func() error {
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := run.Hold(ctx, all[0].Path); !errors.Is(err, context.Canceled) {
			t.Errorf("a model that is being removed is held: %v", err)
		}
		return nil
	})
	if err != nil || exists(all[0].Path) {
		t.Errorf("%v", err)
	}
}

// A model that was used since it was listed is not the least recently used one any more.
func TestUsedSince(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	d := repo(s, "org/name")
	fetched(t, d, commit1, "m.gguf", model(100, "x"))
	d.Use(commit1, "m.gguf", "", "", time.Now().Add(-time.Hour))
	all, err := s.List()
	if err != nil || len(all) != 1 || s.UsedSince(all[0]) {
		t.Fatal(all, err)
	}
	d.Use(commit1, "m.gguf", "", "", time.Now())
	if !s.UsedSince(all[0]) {
		t.Error("it was used")
	}
}

// On a file system without locks, the processes of one machine still take turns, and
// nothing of it is in the store.
func TestLocksElsewhere(t *testing.T) {
	s := openTest(t)
	t.Setenv("TMPDIR", t.TempDir())
	other := another(t, s)
	for _, one := range []*Store{s, other} {
		one.locksElsewhere.Store(true)
	}
	release, err := repo(s, "org/name").Lock(t.Context(), "blob", func() {})
	if err != nil {
		t.Fatal(err)
	}
	if _, got, err := repo(other, "org/name").tryLock("blob"); err != nil || got {
		t.Errorf("two have one lock: %v, %v", got, err)
	}
	if exists(filepath.Join(s.dir, ".locks")) {
		t.Error("the lock is in the store")
	}
	release()
	if _, got, err := repo(other, "org/name").tryLock("blob"); err != nil || !got {
		t.Errorf("the lock stays: %v, %v", got, err)
	}
}

func TestMeant(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	now := time.Now()
	a, b := repo(s, "alice/m-GGUF"), repo(s, "bob/m-GGUF")
	for _, d := range []Folder{a, b} {
		fetched(t, d, commit1, "m-Q4_K_M.gguf", model(100, "4"+d.name))
		fetched(t, d, commit2, "m-Q4_K_M.gguf", model(100, "4"+d.name))
		fetched(t, d, commit2, "m-Q8_0.gguf", model(100, "8"+d.name))
		if err := d.SetRevision("main", commit2); err != nil {
			t.Fatal(err)
		}
	}
	a.Use(commit2, "m-Q4_K_M.gguf", "hf:alice/m-GGUF", "", now)
	a.Use(commit2, "m-Q4_K_M.gguf", "hf:alice/m-GGUF:Q4_K_M", "", now)
	a.Use(commit2, "m-Q8_0.gguf", "hf:alice/m-GGUF:Q8_0", "", now)
	for word, want := range map[string][]string{
		"hf:alice/m-GGUF":                          {a.File(commit2, "m-Q4_K_M.gguf")},
		"hf:alice/m-GGUF:q8_0":                     {a.File(commit2, "m-Q8_0.gguf")},
		"hf:alice/m-GGUF@" + commit1:               {a.File(commit1, "m-Q4_K_M.gguf")},
		"hf:alice/m-GGUF/m-Q4_K_M.gguf":            {a.File(commit2, "m-Q4_K_M.gguf")},
		a.File(commit1, "m-Q4_K_M.gguf"):           {a.File(commit1, "m-Q4_K_M.gguf")},
		"hf:bob/m-GGUF":                            {b.File(commit2, "m-Q4_K_M.gguf"), b.File(commit2, "m-Q8_0.gguf")},
		"bob/m-GGUF":                               {b.File(commit1, "m-Q4_K_M.gguf"), b.File(commit2, "m-Q4_K_M.gguf"), b.File(commit2, "m-Q8_0.gguf")},
		"m-Q8_0.gguf":                              {a.File(commit2, "m-Q8_0.gguf"), b.File(commit2, "m-Q8_0.gguf")},
		"hf:bob/m-GGUF@" + strings.Repeat("3", 40): nil,
	} {
		found, err := s.Meant(word)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, m := range found {
			got[m.Path] = true
		}
		if len(got) != len(want) {
			t.Errorf("%s means %v, want %q", word, got, want)
		}
		for _, p := range want {
			if !got[p] {
				t.Errorf("%s does not mean %s", word, p)
			}
		}
	}
	q4, err := s.Meant("hf:alice/m-GGUF")
	if err != nil {
		t.Fatal(err)
	}
	if same, err := s.Like(q4[0]); err != nil || len(same) != 1 || same[0].Path != a.File(commit1, "m-Q4_K_M.gguf") {
		t.Errorf("%+v, %v", same, err)
	}
}
