package buildkit

import (
	"context"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

const (
	// lullLength is the time without a step starting or ending after which the builder
	// counts as quiet.
	lullLength = 400 * time.Millisecond
	// lullPatience is the maximum time that a cancellation waits for that.
	lullPatience = 3 * time.Second
)

// lull delays a cancellation until the builder is in the middle of a step. BuildKit 0.8
// hashes a step's inputs in a goroutine that looks up the finished step again. If the build
// was cancelled in between, the look-up fails, and the panic ends the whole engine (seen with
// Debian's engine 20.10, in sharedOp.CalcSlowCache).
type lull struct {
	mu      sync.Mutex
	running map[digest.Digest]bool
	changed time.Time
}

func newLull() *lull { return &lull{running: map[digest.Digest]bool{}, changed: time.Now()} }

// update records steps that start and end.
func (l *lull) update(s *client.SolveStatus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range s.Vertexes {
		if runs := v.Started != nil && v.Completed == nil; runs != l.running[v.Digest] {
			l.changed = time.Now()
			l.running[v.Digest] = runs
		}
	}
}

func (l *lull) quiet() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, runs := range l.running {
		if runs {
			return time.Since(l.changed) >= lullLength
		}
	}
	return false
}

// hold returns a context that ends when ctx does, but only at a quiet moment. The returned
// function must be called when the build is over.
func (l *lull) hold(ctx context.Context) (context.Context, func()) {
	held, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	go func() {
		select {
		case <-held.Done():
			return
		case <-ctx.Done():
		}
		patience := time.After(lullPatience)
		tick := time.NewTicker(lullLength / 10)
		defer tick.Stop()
		for !l.quiet() {
			select {
			case <-held.Done():
				return
			case <-patience:
				cancel(context.Cause(ctx))
				return
			case <-tick.C:
			}
		}
		cancel(context.Cause(ctx))
	}()
	return held, func() { cancel(nil) }
}
