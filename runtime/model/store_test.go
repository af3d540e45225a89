package model

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
)

func TestRefsAndLinks(t *testing.T) {
	t.Parallel()
	s, err := Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	d := s.hubFolder("org/name")
	if err := d.setRef("refs/pr/1", "0123"); err != nil {
		t.Fatal(err)
	}
	if got := d.commitOf("refs/pr/1"); got != "0123" {
		t.Errorf("ref reads back as %q", got)
	}
	for range 2 { // again over what is there
		if err := d.link("c", "a/b/m.gguf", "blob"); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := os.Readlink(d.path("snapshots/c/a/b/m.gguf")); got != "../../../../blobs/blob" {
		t.Errorf("link to %q", got)
	}
	if _, _, ok := d.stored("c", "a/b/m.gguf"); ok {
		t.Error("a link to nothing counts as stored")
	}
	if err := os.WriteFile(d.path("refs", "evil"), []byte("../../x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := d.commitOf("evil"); got != "" {
		t.Errorf("a ref that leaves its folder was taken: %q", got)
	}
}

// TestTidyKeepsWhatIsThere fails a fetch in a store that has another model.
func TestTidyKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	r, want := newRig(t), aModel(size, 41)
	r.hub.Add(aRepo, "m.gguf", want)
	r.hub.Add("org/bad", "m.gguf", []byte("no model at all"))
	r.must(t, aRef, want)
	before := tree(t, r.Store.Dir())
	_, err := r.again().fetch(t, "hf:org/bad/m.gguf")
	wantFault(t, err, fault.Model, "no GGUF")
	if after := tree(t, r.Store.Dir()); len(after) != len(before) {
		t.Errorf("before %q, after %q", before, after)
	}
	r.must(t, aRef, want)
}

func TestStoreThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hub.Add(aRepo, "m.gguf", aModel(size, 42))
	if err := os.WriteFile(r.Store.Dir(), []byte("a file in the way"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := r.fetch(t, aRef)
	wantFault(t, err, fault.Model, r.Store.Dir(), "LLORCH_MODEL_DIR")
	if r.hub.Sent() != 0 {
		t.Errorf("%d bytes were fetched for nowhere", r.hub.Sent())
	}
}

// TestDiskFills sees to it that a partial file is deleted where the disk is full,
// and only there.
func TestDiskFills(t *testing.T) {
	t.Parallel()
	full := &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	for err, keep := range map[error]bool{
		full:                           false,
		errChanged:                     false,
		errNotModel:                    false,
		&refetchError{errBadRange}:     false,
		&networkError{"h", errStalled}: true,
	} {
		if keepable(err) != keep {
			t.Errorf("%v: keep %t", err, !keep)
		}
	}
	// A device that is always full stands for a disk that has become so.
	p, err := openPartial(t.Context(), &Store{dir: t.TempDir()}, filepath.Join(t.TempDir(), "x"), -1, true, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	dev, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("this system has no /dev/full")
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = p.file.Close()
	p.file = dev
	_, err = p.Write([]byte("x"))
	if !isFull(err) || p.size != 0 {
		t.Errorf("write to a full disk: %v, size %d", err, p.size)
	}
	f := &Fetcher{Store: &Store{dir: "/s"}}
	wantFault(t, f.fault(t.Context(), Ref{Raw: "hf:a/b/c", Kind: Hub}, err), fault.Model, "no space left", "LLORCH_MODEL_DIR")
}
