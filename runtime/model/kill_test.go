package model

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/llorch/llorch-bk/fixtures/hub"
)

// childRef makes this test's program a process that fetches, as the name says, and
// nothing else; childSum is what the file must hash to.
const childRef = "LLORCH_TEST_FETCH"

func TestMain(m *testing.M) {
	ref := os.Getenv(childRef)
	if ref == "" {
		os.Exit(m.Run())
	}
	err := fetchAsChild(ref)
	if path := os.Getenv(childPeak); err == nil && path != "" {
		err = writePeak(path)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func fetchAsChild(raw string) error {
	env, err := FromEnv(os.Getenv)
	if err != nil {
		return err
	}
	ref, err := Parse(raw)
	if err != nil {
		return err
	}
	f := Fetcher{Environment: env, Store: openStore(env.StoreDir)}
	l, err := f.Fetch(context.Background(), ref)
	if err == nil {
		fmt.Println(l.Path)
	}
	return err
}

// child is a process of its own that fetches.
func (r *rig) child(t *testing.T, ref string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childRef+"="+ref, "HF_ENDPOINT="+r.hub.Endpoint(), "LLORCH_MODEL_DIR="+r.Store.Dir(), "HF_TOKEN=", "HF_HUB_OFFLINE=")
	return cmd
}

// TestKilled kills downloads at random moments, each of which the next one goes on
// with: LLORCH_KILLS says how many, four where it says nothing.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts dozens of processes: leave -short out")
	}
	kills := 4
	if n, err := strconv.Atoi(os.Getenv("LLORCH_KILLS")); err == nil {
		kills = n
	}
	const size = 32 << 20
	want := aModel(size, 90)
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any number does
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	var worst float64
	for n := range kills {
		r := newRig(t)
		r.hub.Add(aRepo, "m.gguf", want)
		// Slow enough that a kill finds it in the midst.
		r.hub.Break(hub.CDN, "", hub.Always, hub.Slow(16<<20, 0))
		cmd := r.child(t, aRef)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		moment := time.Duration(rng.Int64N(int64(350 * time.Millisecond)))
		timer := time.AfterFunc(moment, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
		r.hub.ClearBreaks()
		out, err := r.child(t, aRef).CombinedOutput()
		if err != nil {
			t.Fatalf("kill %d after %v: %v\n%s", n, moment, err, out)
		}
		r.must(t, aRef, want)
		ratio := float64(r.hub.Sent()) / size
		worst = max(worst, ratio)
		if ratio > 1.3 {
			t.Errorf("kill %d after %v: %.2f times the size was sent", n, moment, ratio)
		}
		for _, left := range tree(t, r.Store.Dir()) {
			if strings.Contains(left, "incomplete") || strings.Contains(left, ".lock") || strings.Contains(left, "pieces") {
				t.Errorf("kill %d after %v left %s", n, moment, left)
			}
		}
	}
	t.Logf("%d kills, at most %.2f times the size was sent", kills, worst)
}

// Sixteen processes that want one model in several files fetch it once.
func TestSixteenProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts sixteen processes: leave -short out")
	}
	r, _ := shardedRig(t, shard1, shard2, shard3)
	r.hub.Break(hub.CDN, "", hub.Always, hub.Slow(8<<20, 5*time.Millisecond))
	var g errgroup.Group
	for range 16 {
		cmd := r.child(t, "hf:org/tiny:Q4_K_M")
		g.Go(func() error {
			out, err := cmd.CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if sent := r.hub.Sent(); sent > 3*size+3*512 {
		t.Errorf("%d bytes were sent for a model of %d", sent, 3*size)
	}
	l, err := r.fetch(t, "hf:org/tiny:Q4_K_M")
	if err != nil || l.Shards != 3 {
		t.Errorf("got %+v, %v", l, err)
	}
	for _, left := range tree(t, r.Store.Dir()) {
		if strings.Contains(left, "incomplete") || strings.Contains(left, ".lock") {
			t.Errorf("left behind: %s", left)
		}
	}
}
