package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/runtime/model/ref"
)

func TestRefsAndLinks(t *testing.T) {
	t.Parallel()
	s, err := Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	d := s.Folder(ref.Ref{Kind: ref.Hub, Repo: "org/name"})
	if err := d.SetRevision("refs/pr/1", "0123"); err != nil {
		t.Fatal(err)
	}
	if got := d.CommitOf("refs/pr/1"); got != "0123" {
		t.Errorf("ref reads back as %q", got)
	}
	for range 2 { // again over what is there
		if err := d.Link("c", "a/b/m.gguf", "blob"); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := os.Readlink(d.path("snapshots/c/a/b/m.gguf")); got != "../../../../blobs/blob" {
		t.Errorf("link to %q", got)
	}
	if _, _, ok := d.Stored("c", "a/b/m.gguf"); ok {
		t.Error("a link to nothing counts as stored")
	}
	if err := os.WriteFile(d.path("refs", "evil"), []byte("../../x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := d.CommitOf("evil"); got != "" {
		t.Errorf("a ref that leaves its folder was taken: %q", got)
	}
}

// put stores content as a fetch does.
func put(t *testing.T, d Folder, commit, file string, content []byte) {
	t.Helper()
	sum := sha256.Sum256(content)
	blob := hex.EncodeToString(sum[:])
	f, err := d.OpenFile(d.Blob(blob))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), d.Link(commit, file, blob)); err != nil {
		t.Fatal(err)
	}
}

func TestCollect(t *testing.T) {
	t.Parallel()
	s, err := Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	const size = 4096
	now := time.Now()
	commit := strings.Repeat("c", 40)
	var paths []string
	for i, name := range []string{"a.gguf", "b.gguf", "c.gguf"} {
		d := s.Folder(ref.Ref{Kind: ref.Hub, Repo: "org/" + name[:1]})
		put(t, d, commit, name, bytes.Repeat([]byte(name[:1]), size))
		paths = append(paths, d.File(commit, name))
		// a was used first, c last.
		d.Use(commit, name, "", "", now.Add(time.Duration(i-10)*time.Hour))
	}
	d := s.Folder(ref.Ref{Kind: ref.Hub, Repo: "org/a"})
	old, young := d.Incomplete("old"), d.Incomplete("young")
	for p, age := range map[string]time.Duration{old: 8 * 24 * time.Hour, young: time.Hour} {
		f, err := d.OpenFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Truncate(1000), f.Close(), os.Chtimes(p, now, now.Add(-age))); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		keep int64
		busy string
		want []string
	}{
		"room for all":         {4 * size, "", nil},
		"room for two":         {2*size + 1000, "", []string{paths[0]}},
		"a little less":        {2 * size, "", []string{paths[0], paths[1]}},
		"room for none":        {0, "", paths},
		"the oldest is served": {size + 1000, paths[0], []string{paths[1], paths[2]}},
	} {
		models, partials, err := s.Collect(c.keep, func(p string) bool { return p == c.busy }, now)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range models {
			got = append(got, m.Path)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if len(partials) != 1 || partials[0].Path != old {
			t.Errorf("%s: given up are %v", name, partials)
		}
	}
}

// The lock of a killed process goes, and one that is held stays.
func TestRemoveStaleLock(t *testing.T) {
	t.Parallel()
	s, err := Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	d := s.Folder(ref.Ref{Kind: ref.Hub, Repo: "org/name"})
	release, err := d.Lock(t.Context(), "blob", func() { t.Error("nobody else has it") })
	if err != nil {
		t.Fatal(err)
	}
	d.RemoveStaleLock("blob")
	if _, err := os.Stat(d.lockFile("blob")); err != nil {
		t.Errorf("a lock that is held: %v", err)
	}
	release()
	// A killed process leaves the file, which nobody has locked.
	if err := s.within(filepath.Dir(d.lockFile("blob")), func() error { return os.WriteFile(d.lockFile("blob"), nil, 0o600) }); err != nil {
		t.Fatal(err)
	}
	d.RemoveStaleLock("blob")
	if left, _ := os.ReadDir(s.Dir()); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	d.RemoveStaleLock("blob")
}
