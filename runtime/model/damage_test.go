package model

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
)

// A file of the store that is not what it was is fetched again, by a branch and by a
// commit. Without a network it is an error that says what is wrong, before any server.
func TestDamagedInTheStore(t *testing.T) {
	t.Parallel()
	want := tinyModel(t)
	for name, spoil := range map[string]func(t *testing.T, r *rig, path string){
		"cut":    func(t *testing.T, _ *rig, path string) { truncate(t, path, 2000) },
		"longer": func(t *testing.T, _ *rig, path string) { truncate(t, path, int64(len(want))+100) },
		"empty":  func(t *testing.T, _ *rig, path string) { truncate(t, path, 0) },
		"cut, and nobody recorded its size": func(t *testing.T, r *rig, path string) {
			truncate(t, path, 300)
			if err := os.Remove(filepath.Join(r.Store.Dir(), "models--org--tiny", ".files.json")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.hub.Add(aRepo, "m.gguf", want)
			pinned := "hf:org/tiny@" + r.hub.Commit(aRepo) + "/m.gguf"
			path := r.must(t, aRef, want).Path
			spoil(t, r, path)
			off := r.again()
			off.Environment.Offline = true
			_, err := off.fetch(t, aRef)
			wantFault(t, err, fault.Model, "is damaged", "HF_HUB_OFFLINE", "fetched again where")
			r.must(t, aRef, want)
			spoil(t, r, path)
			again := r.again()
			again.must(t, pinned, want)
			if !again.events.said("fetched again") {
				t.Errorf("the reason was not said: %q", again.events.notes)
			}
			off.must(t, pinned, want)
		})
	}
}

// A file whose size nobody recorded is held to the size that the source says now.
func TestSizeOfTheSource(t *testing.T) {
	t.Parallel()
	r, want := newRig(t), aModel(size, 91)
	r.hub.Add(aRepo, "m.gguf", want)
	path := r.must(t, aRef, want).Path
	if err := os.Remove(filepath.Join(r.Store.Dir(), "models--org--tiny", ".files.json")); err != nil {
		t.Fatal(err)
	}
	truncate(t, path, size+1)
	r.must(t, aRef, want)
	if !r.events.said("has 3145729 bytes, want 3145728") {
		t.Errorf("notes: %q", r.events.notes)
	}
}

func truncate(t *testing.T, path string, to int64) {
	t.Helper()
	real, err := filepath.EvalSymlinks(path)
	if err == nil {
		err = os.Truncate(real, to)
	}
	if err != nil && !strings.Contains(err.Error(), "no such file") {
		t.Fatal(err)
	}
}
