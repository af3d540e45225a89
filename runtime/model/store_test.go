package model

import (
	"io/fs"
	"os"
	"syscall"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// TestTidyKeepsWhatIsThere fails a fetch in a store that has another model.
func TestTidyKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	r, want := newRig(t), aModel(size, 41)
	r.hub.Add(aRepo, "m.gguf", want)
	r.hub.Add("org/bad", "m.gguf", []byte("no model at all"))
	r.must(t, aRef, want)
	before := tree(t, r.Store.Dir())
	_, err := r.again().fetch(t, "hf:org/bad/m.gguf")
	wantFault(t, err, fault.Model, "not a GGUF")
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

// A disk that is full says what to do.
func TestFullDiskFault(t *testing.T) {
	t.Parallel()
	err := &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	f := &Fetcher{Store: openStore("/s")}
	wantFault(t, f.fault(t.Context(), Ref{Raw: "hf:a/b/c", Kind: ref.Hub}, err), fault.Model, "no space left", "LLORCH_MODEL_DIR")
}
