package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/replica"
)

func TestClaims(t *testing.T) {
	t.Parallel()
	c := fileClaims{filepath.Join(t.TempDir(), "locks")}
	one, other := replica.ID{Project: "/p", Pool: "a", Replica: "r0"}, replica.ID{Project: "/p", Pool: "b", Replica: "r0"}
	release, err := c.Acquire(t.Context(), one, func() { t.Error("busy, though nobody has it") })
	if err != nil {
		t.Fatal(err)
	}
	if second, err := c.Try(one); second != nil || err != nil {
		t.Errorf("a second claim: %v", err)
	}
	if free, err := c.Try(other); free == nil || err != nil {
		t.Errorf("another replica's claim: %v", err)
	}
	// Who waits has it as soon as it is let go, and may stop to wait.
	busy, got := make(chan struct{}), make(chan error, 1)
	go func() {
		release, err := c.Acquire(t.Context(), one, func() { close(busy) })
		if err == nil {
			release()
		}
		got <- err
	}()
	<-busy
	why := errors.New("ctrl-c")
	ctx, cancel := context.WithCancelCause(t.Context())
	if _, err := c.Acquire(ctx, one, func() { cancel(why) }); !errors.Is(err, why) {
		t.Errorf("given up: %v", err)
	}
	release()
	if err := <-got; err != nil {
		t.Errorf("after it was let go: %v", err)
	}
}

func TestClaimsThatCannotBeTaken(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, id := fileClaims{filepath.Join(file, "locks")}, replica.ID{Project: "/p", Pool: "a", Replica: "r0"}
	if _, err := c.Try(id); fault.ClassOf(err) != fault.Machine {
		t.Errorf("try: %v", err)
	}
	if _, err := c.Acquire(t.Context(), id, func() {}); fault.ClassOf(err) != fault.Machine {
		t.Errorf("acquire: %v", err)
	}
	// Without a home there is still a place to take turns in.
	none := &App{Getenv: func(string) string { return "" }}
	if none.claims().(fileClaims).dir == "" {
		t.Error("no folder for locks without a home")
	}
}

// stop ends what a run waits for, and does its own part once the run has let go.
func TestStopEndsWhatARunWaitsFor(t *testing.T) {
	t.Parallel()
	f, dir := startEngine(t), t.TempDir()
	path := put(t, dir, "default", "r0", "c1")
	f.addServer("c1", dir, "default", "r0", nobody, path)
	release, err := f.app(t).claims().Acquire(t.Context(), replica.ID{Project: dir, Pool: "default", Replica: "r0"}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		// The run that has the claim gives up when its server is stopped.
		defer release()
		for tick := time.NewTicker(time.Millisecond); ; {
			select {
			case <-t.Context().Done():
				return
			case <-tick.C:
				if slices.Contains(f.done(), "POST /containers/c1/stop") {
					if !exists(t, path) {
						t.Error("the handoff went, though the run has the replica")
					}
					return
				}
			}
		}
	}()
	stopped, err := f.app(t).Stop(t.Context(), StopOptions{HandoffDir: dir, Grace: time.Second})
	if err != nil || !slices.Equal(stopped, []string{"default"}) || exists(t, path) {
		t.Errorf("stopped %v, %v; the handoff is there: %v", stopped, err, exists(t, path))
	}
}
