package store

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// withoutSymlinks is a store on a file system that has none.
func withoutSymlinks(t *testing.T) *Store {
	t.Helper()
	s := openTest(t)
	s.symlink = func(string, string) error { return syscall.EPERM }
	return s
}

// Without symlinks, a snapshot has the files themselves: once on the disk, found again by
// their content, listed, verified, and removed.
func TestWithoutSymlinks(t *testing.T) {
	t.Parallel()
	s := withoutSymlinks(t)
	if copies, err := s.Copies(); err != nil || !copies {
		t.Fatal(copies, err)
	}
	if left := everything(t, s.dir); len(left) > 0 {
		t.Errorf("the test of the file system leaves %q", left)
	}
	d := repo(s, "org/name")
	content := model(5000, "x")
	blob := fetched(t, d, commit1, "sub/m.gguf", content)
	if info, err := os.Lstat(d.File(commit1, "sub/m.gguf")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("%v, %v", info, err)
	}
	if exists(d.path("blobs")) {
		t.Error("the content is there twice")
	}
	if !d.Has(blob, int64(len(content))) || d.Has(blob, 1) || d.Has("other", -1) {
		t.Error("the content is not found")
	}
	// Another commit with the same content.
	if err := d.Link(commit2, "m.gguf", blob); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(d.File(commit2, "m.gguf")); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	all, err := s.List()
	if err != nil || len(all) != 2 || all[0].Foreign {
		t.Fatalf("%+v, %v", all, err)
	}
	// A file that was cut is told by its size.
	if err := os.Truncate(d.File(commit1, "sub/m.gguf"), 100); err != nil {
		t.Fatal(err)
	}
	if _, _, ok := d.Stored(commit1, "sub/m.gguf"); ok || len(d.Damaged()) == 0 {
		t.Error("a file that was cut counts as stored")
	}
	models, _, err := s.Collect(0, func(string) bool { return false }, time.Now())
	if err != nil || len(models) != 2 {
		t.Fatalf("%+v, %v", models, err)
	}
	for _, m := range models {
		if _, err := s.Remove(m.Stored); err != nil {
			t.Error(err)
		}
	}
	if exists(s.dir) {
		t.Errorf("left behind: %q", everything(t, s.dir))
	}
}

// A store that cannot be written at all is not one without symlinks.
func TestCopiesNeedsAFolder(t *testing.T) {
	t.Parallel()
	s := withoutSymlinks(t)
	if err := os.WriteFile(s.dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if copies, err := s.Copies(); err == nil || copies {
		t.Errorf("%v, %v", copies, err)
	}
}

// Many who ask at once in the same store all find that it has symlinks.
func TestSymlinksAreTriedByManyAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var g errgroup.Group
	for range 64 {
		g.Go(func() error {
			s, err := Open(dir)
			if err != nil {
				return err
			}
			if copies, err := s.Copies(); err != nil || copies {
				return fmt.Errorf("copies %t: %w", copies, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if left := everything(t, dir); len(left) > 0 {
		t.Errorf("the test of the file system leaves %q", left)
	}
}
