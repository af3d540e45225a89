package model

import (
	"os"
	"syscall"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
)

// small mounts a file system of its own of so many bytes, and gives a way to change it.
func small(t *testing.T, options string) (dir string, remount func(options string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir, func(options string) {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, options); err != nil {
			t.Fatal(err)
		}
	}
}

// A disk that is full though there seemed to be room gets its space back, and the
// model once there is some.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	for name, from := range map[string]int64{"in one": 0, "in pieces": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, remount := small(t, "size=2m,mode=755")
			r, want := newRig(t), aModel(size, 21)
			r.Store, r.pieceFrom = openStore(dir), from
			// Somebody else took the room after it was asked for.
			r.free = func(string) (int64, error) { return 1 << 40, nil }
			r.hub.Add(aRepo, "m.gguf", want)
			_, err := r.fetch(t, aRef)
			wantFault(t, err, fault.Model, "the disk is full", "make room")
			var st syscall.Statfs_t
			if err := syscall.Statfs(dir, &st); err != nil {
				t.Fatal(err)
			}
			if used := (st.Blocks - st.Bfree) * uint64(st.Bsize); used > 64<<10 { //nolint:gosec // a block's size is positive
				t.Errorf("%d bytes were not given back: %q", used, tree(t, dir))
			}
			remount("size=16m,mode=755")
			r.must(t, aRef, want)
		})
	}
}

// A store that can only be read says so before anything is fetched, and still serves
// what it has.
func TestReadOnlyStore(t *testing.T) {
	t.Parallel()
	dir, remount := small(t, "size=16m,mode=755")
	r, want := newRig(t), aModel(size, 22)
	r.Store = openStore(dir)
	r.hub.Add(aRepo, "m.gguf", want)
	r.hub.Add("org/other", "n.gguf", want)
	r.must(t, aRef, want)
	sent := r.hub.Sent()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "size=16m,mode=755"); err != nil {
		t.Fatal(err)
	}
	_, err := r.fetch(t, "hf:org/other/n.gguf")
	wantFault(t, err, fault.Model, "read-only", "LLORCH_MODEL_DIR")
	if r.hub.Sent() != sent {
		t.Errorf("%d bytes were fetched for a store that cannot be written", r.hub.Sent()-sent)
	}
	r.must(t, aRef, want)
	remount("size=16m,mode=755")
	r.must(t, "hf:org/other/n.gguf", want)
}
