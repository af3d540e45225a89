package model

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/fixtures/hub"
	"github.com/llorch/llorch-bk/images/fault"
)

const (
	aRepo = "org/tiny"
	aRef  = "hf:org/tiny/m.gguf"
	size  = 3 << 20
)

func TestPresentCostsNothing(t *testing.T) {
	t.Parallel()
	r, want := newRig(t), aModel(size, 2)
	r.hub.Add(aRepo, "m.gguf", want)
	pinned := "hf:org/tiny@" + r.hub.Commit(aRepo) + "/m.gguf"
	r.must(t, aRef, want)
	sent, asked := r.hub.Sent(), len(r.hub.Requests())

	r.must(t, aRef, want)
	if r.hub.Sent() != sent || len(r.hub.Requests()) != asked+1 {
		t.Errorf("a branch that did not move: %d bytes, %d requests", r.hub.Sent()-sent, len(r.hub.Requests())-asked)
	}
	r.Environment.Endpoint = "http://127.0.0.1:1"
	r.must(t, pinned, want)

	// The Hub is gone: what the branch last meant is used, and said.
	r.must(t, aRef, want)
	if !r.events.said("using commit") {
		t.Errorf("the fallback was not said: %q", r.events.notes)
	}
	off := r.again()
	off.Environment.Offline = true
	off.must(t, aRef, want)
	if !off.events.said("offline") {
		t.Errorf("offline use was not said: %q", off.events.notes)
	}
	_, err := off.fetch(t, "hf:org/tiny@v1/m.gguf")
	wantFault(t, err, fault.Model, "HF_HUB_OFFLINE")
	_, err = off.fetch(t, pinned+"#sha256="+someSum)
	wantFault(t, err, fault.Model, "SHA-256 in the store", sum(want))
}

func TestBranchMoves(t *testing.T) {
	t.Parallel()
	r, one, two := newRig(t), aModel(size, 3), aModel(size, 4)
	r.hub.Add(aRepo, "m.gguf", one)
	first := r.must(t, aRef, one)
	r.hub.Add(aRepo, "m.gguf", two)
	r.must(t, aRef, two)
	sent := r.hub.Sent()
	// Another commit with content that is there already is linked, not fetched.
	r.hub.Add(aRepo, "m.gguf", one)
	third := r.must(t, aRef, one)
	if r.hub.Sent() != sent || third.Commit == first.Commit {
		t.Errorf("%d bytes for known content, commit %s", r.hub.Sent()-sent, third.Commit)
	}
}

// TestResume interrupts a download and goes on in another process.
func TestResume(t *testing.T) {
	t.Parallel()
	want := aModel(8<<20, 5)
	for name, ref := range map[string]func(h *hub.Hub) string{
		"hub":                 func(h *hub.Hub) string { h.Add(aRepo, "m.gguf", want); return aRef },
		"url with etag":       func(h *hub.Hub) string { return h.Serve("m.gguf", `"v1"`, want) },
		"url with hash":       func(h *hub.Hub) string { return h.Serve("m.gguf", "", want) + "#sha256=" + sum(want) },
		"url with both":       func(h *hub.Hub) string { return h.Serve("m.gguf", `"v1"`, want) + "#sha256=" + sum(want) },
		"small file of a hub": func(h *hub.Hub) string { h.AddPlain(aRepo, "m.gguf", want); return aRef },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			raw := ref(r.hub)
			ctx, stop := canceled(t)
			r.events.set = func(done int64) {
				if done > 5<<20 {
					stop()
				}
			}
			_, err := r.Fetch(ctx, parse(t, raw))
			wantFault(t, err, fault.Interrupted, "goes on from where it was")
			partial := tree(t, r.Store.Dir())
			if !slices.ContainsFunc(partial, func(p string) bool { return strings.HasSuffix(p, ".incomplete") }) {
				t.Fatalf("no partial file: %q", partial)
			}
			if slices.ContainsFunc(partial, func(p string) bool { return strings.Contains(p, "snapshots") || strings.Contains(p, ".lock") }) {
				t.Errorf("visible too early: %q", partial)
			}
			before := r.hub.Sent()
			next := r.again()
			next.must(t, raw, want)
			if !next.events.said("resuming after") {
				t.Errorf("not resumed: %q", next.events.notes)
			}
			// Lost is at most a piece of 256 KiB for each of eight connections.
			if again := r.hub.Sent() - before; again > 3<<20+8*256<<10 {
				t.Errorf("%d bytes were fetched of the 3 MiB that were missing", again)
			}
		})
	}
}

func TestPartialThatIsWrong(t *testing.T) {
	t.Parallel()
	want := aModel(size, 6)
	for name, left := range map[string][]byte{
		"other bytes": aModel(1<<20, 99), "longer than the file": aModel(size+10, 6), "whole": want, "five bytes": want[:5],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.hub.Add(aRepo, "m.gguf", want)
			blobs := filepath.Join(r.Store.Dir(), "models--org--tiny", "blobs")
			if err := os.MkdirAll(blobs, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(blobs, sum(want)+".incomplete"), left, 0o600); err != nil {
				t.Fatal(err)
			}
			r.must(t, aRef, want)
		})
	}
}

func TestBoundedRequests(t *testing.T) {
	t.Parallel()
	r, want := newRig(t), aModel(size, 7)
	r.Chunk = 1 << 20
	r.hub.Add(aRepo, "m.gguf", want)
	r.must(t, aRef, want)
	var ranges []string
	for _, q := range r.hub.Requests() {
		if q.Place == hub.CDN {
			ranges = append(ranges, q.Range)
		}
	}
	if !slices.Equal(ranges, []string{"bytes=0-1048575", "bytes=1048576-2097151", "bytes=2097152-3145727"}) {
		t.Errorf("asked for %q", ranges)
	}
}

func TestStall(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]hub.How{"at once": hub.Stall(100_000), "before anything": hub.Stall(0), "a byte now and then": hub.Trickle(10 * time.Millisecond)} {
		for _, from := range []int64{0, 1} {
			t.Run(fmt.Sprintf("%s, pieces from %d", name, from), func(t *testing.T) {
				t.Parallel()
				r, want := newRig(t), aModel(size, 8)
				r.Stall, r.pieceFrom = 200*time.Millisecond, from
				r.hub.Add(aRepo, "m.gguf", want)
				r.hub.Break(hub.CDN, "", 1, how)
				r.must(t, aRef, want)
				if !r.events.said("stopped sending for 200ms") {
					t.Errorf("notes: %q", r.events.notes)
				}
			})
		}
	}
	// One that does it for ever is given up.
	r := newRig(t)
	r.Stall = 50 * time.Millisecond
	r.hub.Add(aRepo, "m.gguf", aModel(size, 8))
	r.hub.Break(hub.CDN, "", hub.Always, hub.Trickle(5*time.Millisecond))
	_, err := r.fetch(t, aRef)
	wantFault(t, err, fault.Model, "stopped sending")
}

// TestTwoAtOnce has two processes ask for one file: one downloads, the other says
// that it waits.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	a, want := newRig(t), aModel(size, 9)
	b := a.again()
	a.hub.Add(aRepo, "m.gguf", want)
	waiting := make(chan struct{})
	var once sync.Once
	// The first holds still in mid-download until the second has said its line.
	a.events.set = func(done int64) {
		if done > 0 {
			once.Do(func() {
				go func() {
					defer close(waiting)
					if l, err := b.fetch(t, aRef); err != nil || l.SHA256 != sum(want) {
						t.Errorf("the second: %+v, %v", l, err)
					}
				}()
				deadline := time.Now().Add(10 * time.Second)
				for !b.events.said("another process is downloading") && time.Now().Before(deadline) {
					time.Sleep(time.Millisecond)
				}
			})
		}
	}
	if _, err := a.fetch(t, aRef); err != nil {
		t.Fatal(err)
	}
	<-waiting
	if !b.events.said("another process is downloading") {
		t.Errorf("the second said %q", b.events.notes)
	}
	if a.hub.Sent() != int64(len(want)) {
		t.Errorf("%d bytes were sent for a file of %d", a.hub.Sent(), len(want))
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	r, want := newRig(t), aModel(size, 10)
	r.hub.Add(aRepo, "m.gguf", want)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if l, err := r.again().fetch(t, aRef); err != nil || l.SHA256 != sum(want) {
				t.Errorf("%+v, %v", l, err)
			}
		})
	}
	wg.Wait()
	if r.hub.Sent() != int64(len(want)) {
		t.Errorf("%d bytes were sent for a file of %d", r.hub.Sent(), len(want))
	}
}

func TestUmask(t *testing.T) { // not parallel: the umask is the process's
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	r, want := newRig(t), aModel(size, 11)
	r.hub.Add(aRepo, "sub/m.gguf", want)
	r.must(t, "hf:org/tiny/sub/m.gguf", want)
	for _, p := range tree(t, r.Store.Dir()) {
		info, err := os.Stat(filepath.Join(r.Store.Dir(), p))
		if err != nil {
			t.Fatal(err)
		}
		mode := fs.FileMode(0o644)
		if info.IsDir() {
			mode = 0o755
		}
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v", p, info.Mode().Perm())
		}
	}
}

func TestNoRoom(t *testing.T) {
	t.Parallel()
	r, want := newRig(t), aModel(size, 12)
	r.hub.Add(aRepo, "m.gguf", want)
	r.free = func(string) (int64, error) { return size - 1, nil }
	_, err := r.fetch(t, aRef)
	wantFault(t, err, fault.Model, "3MiB", "LLORCH_MODEL_DIR")
	if left := tree(t, r.Store.Dir()); len(left) > 0 || r.hub.Sent() > 0 {
		t.Errorf("left %q, received %d bytes", left, r.hub.Sent())
	}
	r.free = nil
	r.must(t, aRef, want)
}
