package model

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/llorch/llorch-bk/runtime/model/store"
)

// Collections that are to keep nothing run all the time, and so do runs, each of which
// fetches a model and then starts its server. Whatever happens when, a run finds its
// model whole until it lets go, and only removals that nobody minds happen.
func TestCollectBesideRun(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const small = 64 << 10
	one, two := aModel(small, 95), aModel(small, 96)
	r.hub.Add("org/a", "one.gguf", one)
	commit := r.hub.Commit("org/a")
	r.hub.Add("org/a", "two.gguf", two) // a second commit, with one.gguf as it was
	refs := map[string][]byte{
		"hf:org/a@" + commit + "/one.gguf": one, "hf:org/a/one.gguf": one, "hf:org/a/two.gguf": two,
	}
	var runs errgroup.Group
	var removed atomic.Int64
	stop := make(chan struct{})
	var gcs errgroup.Group
	for range 2 {
		gcs.Go(func() error {
			s := openStore(r.Store.Dir())
			for {
				select {
				case <-stop:
					return nil
				case <-time.After(5 * time.Millisecond):
				}
				models, _, err := s.Collect(0, func(string) bool { return false }, time.Now())
				if err != nil {
					return err
				}
				for _, m := range models {
					if _, err := s.Remove(m.Stored); err == nil {
						removed.Add(1)
					} else if !errors.Is(err, store.ErrInUse) {
						return fmt.Errorf("remove %s: %w", m.Ref, err)
					}
				}
			}
		})
	}
	for raw, want := range refs {
		for range 2 {
			runs.Go(func() error {
				for range 6 {
					run := r.again()
					l, err := run.Fetch(t.Context(), parse(t, raw))
					if err != nil {
						return fmt.Errorf("%s: %w", raw, err)
					}
					// The server starts, and reads all of it.
					for range 5 {
						got, err := os.ReadFile(l.Path)
						if err != nil || sum(got) != sum(want) {
							return fmt.Errorf("%s: %d bytes, %w", raw, len(got), err)
						}
					}
					run.Store.Release()
				}
				return nil
			})
		}
	}
	if err := runs.Wait(); err != nil {
		t.Error(err)
	}
	close(stop)
	if err := gcs.Wait(); err != nil {
		t.Error(err)
	}
	if removed.Load() == 0 {
		t.Error("no collection removed anything: the test shows nothing")
	}
	t.Logf("%d models were removed meanwhile", removed.Load())
}
