package buildkit

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/llb/source"
	"github.com/tonistiigi/fsutil/types"
)

// sent writes files that all have one time, and reads them.
func sent(t *testing.T, dir string, files map[string]string, leftOut ...string) sourceFS {
	t.Helper()
	old := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, old, old)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := source.Read(t.Context(), dir, leftOut)
	if err != nil {
		t.Fatal(err)
	}
	return sourceFS{c}
}

// walk lists what is sent, in its order.
func walk(t *testing.T, s sourceFS) (names []string, stats map[string]*types.Stat) {
	t.Helper()
	stats = map[string]*types.Stat{}
	err := s.Walk(context.Background(), "", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !d.IsDir() {
			names = append(names, path)
		}
		stats[path] = info.Sys().(*types.Stat)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names, stats
}

// TestSourceFS holds that what git ignores is not sent, and nothing else is left
// out: neither its neighbours nor names that look like a pattern.
func TestSourceFS(t *testing.T) {
	t.Parallel()
	s := sent(t, t.TempDir(), map[string]string{"a.c": "", "build/x.o": "", "models/[1].gguf": "", "models/1.gguf": "", "models.c": "", "z.c": ""}, "build", "models/[1].gguf")
	names, stats := walk(t, s)
	if diff := cmp.Diff([]string{"a.c", "models/1.gguf", "models.c", "z.c"}, names); diff != "" {
		t.Error(diff)
	}
	if m := fs.FileMode(stats["a.c"].Mode); m != 0o644 {
		t.Errorf("a file that only its owner may read is sent as %v: keys would differ from machine to machine", m)
	}
}

// A file's time says whether its content is another, and nothing else does.
func TestSourceFSTimesAreContents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, first := walk(t, sent(t, dir, map[string]string{"same": "1", "other": "one"}))
	_, second := walk(t, sent(t, dir, map[string]string{"other": "two"}))
	if first["same"].ModTime != second["same"].ModTime {
		t.Error("equal content has another time")
	}
	if first["other"].ModTime == second["other"].ModTime {
		t.Error("other content of the same size and time would not be sent")
	}
	for path, s := range second {
		if at := time.Unix(0, s.ModTime); at.Before(time.Unix(0, 0)) || at.After(time.Now()) {
			t.Errorf("%s is of %v, which compilers would wonder at", path, at)
		}
	}
}

// What is sent is what the tree is called by, or nothing.
func TestSourceFSThatChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := sent(t, dir, map[string]string{"a.c": "one", "gone.c": ""})
	read := func(name string) error {
		r, err := s.Open(name)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.ReadAll(r)
		return err
	}
	if err := read("a.c"); err != nil {
		t.Error(err)
	}
	sent(t, dir, map[string]string{"a.c": "two"})
	if err := errors.Join(os.Remove(filepath.Join(dir, "gone.c"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.c", "gone.c"} {
		if err := read(name); !errors.Is(err, source.ErrChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
