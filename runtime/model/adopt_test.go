package model

import (
	"os"
	"path/filepath"
	"testing"
)

// What Hugging Face's tools have fetched is used, verified, and left as it is.
func TestAdopt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(t *testing.T, blob string, content []byte)
		// taken says that nothing was fetched, said is a part of a note.
		taken bool
		said  string
	}{
		"as it is":         {nil, true, "takes no more space"},
		"not for everyone": {func(t *testing.T, blob string, _ []byte) { chmod(t, blob, 0o600) }, true, ""},
		"other bytes": {func(t *testing.T, blob string, content []byte) {
			spoilt := append([]byte(nil), content...)
			spoilt[100] ^= 1
			write(t, blob, spoilt)
		}, false, "downloaded again"},
		"cut off": {func(t *testing.T, blob string, content []byte) { write(t, blob, content[:1000]) }, false, ""},
		"a folder": {func(t *testing.T, blob string, _ []byte) {
			if err := os.Remove(blob); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(blob, 0o755); err != nil {
				t.Fatal(err)
			}
		}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, want := newRig(t), aModel(size, 12)
			r.hub.Add(aRepo, "m.gguf", want)
			r.Environment.HubCache = t.TempDir()
			blob := filepath.Join(r.Environment.HubCache, "models--org--tiny", "blobs", sum(want))
			if err := os.MkdirAll(filepath.Dir(blob), 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, blob, want)
			chmod(t, blob, 0o644)
			if c.spoil != nil {
				c.spoil(t, blob, want)
			}
			before, err := os.Stat(blob)
			if err != nil {
				t.Fatal(err)
			}
			l := r.must(t, aRef, want)
			if (r.hub.Sent() == 0) != c.taken {
				t.Errorf("%d bytes were fetched", r.hub.Sent())
			}
			if c.said != "" && !r.events.said(c.said) {
				t.Errorf("no note says %q: %q", c.said, r.events.notes)
			}
			after, err := os.Stat(blob)
			if err != nil || after.Mode() != before.Mode() || after.Size() != before.Size() {
				t.Errorf("their file was changed: %v, %v", after, err)
			}
			if mine, err := os.Stat(l.Path); err != nil || mine.Mode()&0o444 != 0o444 {
				t.Errorf("a container's user cannot read it: %v, %v", mine, err)
			}
			// What goes from the store is ours alone.
			found, err := r.Store.Find(aRef)
			if err != nil || len(found) != 1 {
				t.Fatal(found, err)
			}
			if _, err := r.Store.Remove(found[0]); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(blob); err != nil {
				t.Errorf("their file is gone: %v", err)
			}
		})
	}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
