package model

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
)

// aged is a rig that keeps hashes, at a time when every file was left alone for long.
func aged(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.HashDir = filepath.Join(t.TempDir(), "hashes")
	r.now = func() time.Time { return time.Now().Add(time.Hour) }
	return r
}

// reads counts how often a file was read for its hash.
func (r *rig) reads() int {
	r.events.mu.Lock()
	defer r.events.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(r.events.names), func(n string) bool { return !strings.HasPrefix(n, "hash ") }))
}

// A file of the user's own that was replaced has another identity, however it was
// replaced. One that was left alone is read once.
func TestOwnFileReplaced(t *testing.T) {
	t.Parallel()
	one, two := aModel(size, 71), aModel(size, 72) // of one size
	for name, replace := range map[string]func(t *testing.T, path string, was os.FileInfo){
		"by a rename": func(t *testing.T, path string, _ os.FileInfo) {
			write(t, path+".new", two)
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		},
		"in its place": func(t *testing.T, path string, _ os.FileInfo) { write(t, path, two) },
		"with its old time": func(t *testing.T, path string, was os.FileInfo) {
			write(t, path, two)
			if err := os.Chtimes(path, was.ModTime(), was.ModTime()); err != nil {
				t.Fatal(err)
			}
		},
		"behind a symlink": func(t *testing.T, path string, _ os.FileInfo) {
			write(t, path+".new", two)
			if err := errors.Join(os.Remove(path), os.Symlink(path+".new", path)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, path := aged(t), filepath.Join(t.TempDir(), "m.gguf")
			write(t, path, one)
			was, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if l, err := r.fetch(t, path); err != nil || l.SHA256 != sum(one) {
					t.Fatalf("%s, %v", l.SHA256, err)
				}
			}
			if n := r.reads(); n != 1 {
				t.Errorf("read %d times", n)
			}
			replace(t, path, was)
			if l, err := r.fetch(t, path); err != nil || l.SHA256 != sum(two) {
				t.Errorf("replaced, it is still %s, %v", l.SHA256, err)
			}
		})
	}
}

// The hash of a file that was written to a moment ago is not kept: another write could
// leave all that the file system says as it is.
func TestFreshHashIsNotKept(t *testing.T) {
	t.Parallel()
	r, path := aged(t), filepath.Join(t.TempDir(), "m.gguf")
	r.now = nil
	write(t, path, aModel(size, 73))
	for range 2 {
		if _, err := r.fetch(t, path); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.reads(); n != 2 {
		t.Errorf("read %d times", n)
	}
}

// A kept hash that cannot be read, or that is of another file, is none.
func TestKeptHashIsOfTheFile(t *testing.T) {
	t.Parallel()
	r, dir := aged(t), t.TempDir()
	a, b := filepath.Join(dir, "a.gguf"), filepath.Join(dir, "b.gguf")
	write(t, a, aModel(size, 74))
	write(t, b, aModel(size, 75))
	for _, p := range []string{a, b} {
		if _, err := r.fetch(t, p); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(r.keptAt(a))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"another file's": kept, "cut": kept[:10], "no hash": []byte(strings.ReplaceAll(string(kept), sum(aModel(size, 74)), "x"))} {
		write(t, r.keptAt(b), content)
		if l, err := r.fetch(t, b); err != nil || l.SHA256 != sum(aModel(size, 75)) {
			t.Errorf("%s: %s, %v", name, l.SHA256, err)
		}
	}
}

// Of a model in several files, each one counts.
func TestOwnShardReplaced(t *testing.T) {
	t.Parallel()
	r, dir := aged(t), t.TempDir()
	for i, name := range []string{shard1, shard2, shard3} {
		write(t, filepath.Join(dir, filepath.Base(name)), aModel(size, uint64(80+i))) //nolint:gosec // small
	}
	first, err := r.fetch(t, filepath.Join(dir, filepath.Base(shard1)))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, filepath.Base(shard2)), aModel(size, 89))
	second, err := r.fetch(t, filepath.Join(dir, filepath.Base(shard1)))
	if err != nil {
		t.Fatal(err)
	}
	if slices.Equal(first.hashes, second.hashes) || first.SHA256 != second.SHA256 || len(second.hashes) != 3 {
		t.Errorf("%q, then %q", first.hashes, second.hashes)
	}
}

// A file that somebody writes to while it is read is refused.
func TestOwnFileThatChanges(t *testing.T) {
	t.Parallel()
	r, path := aged(t), filepath.Join(t.TempDir(), "m.gguf")
	write(t, path, aModel(size, 76))
	var once sync.Once
	r.events.set = func(int64) { once.Do(func() { appendByte(t, path) }) }
	_, err := r.fetch(t, path)
	wantFault(t, err, fault.Model, "changed while it was read", "wait until")
}

func appendByte(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.WriteString("x")
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Error(err)
	}
}
