package buildkit

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

func TestLull(t *testing.T) {
	t.Parallel()
	cause := errors.New("interrupted")
	vertex := func(name string, done bool) *client.SolveStatus {
		now := time.Now()
		v := &client.Vertex{Digest: digest.FromString(name), Name: name, Started: &now}
		if done {
			v.Completed = &now
		}
		return &client.SolveStatus{Vertexes: []*client.Vertex{v}}
	}
	// What happens after the interruption, and when the build is cancelled.
	for name, c := range map[string]struct {
		before, after func(*lull)
		want          time.Duration
	}{
		"in the midst of a step": {
			before: func(l *lull) { l.update(vertex("compile", false)); time.Sleep(time.Minute) },
			want:   0,
		},
		"just after a step began": {
			before: func(l *lull) { l.update(vertex("compile", false)) },
			want:   lullLength,
		},
		"between two steps": {
			before: func(l *lull) { l.update(vertex("source", false)); l.update(vertex("source", true)) },
			after:  func(l *lull) { time.Sleep(time.Second); l.update(vertex("compile", false)) },
			want:   time.Second + lullLength,
		},
		"another step ends meanwhile": {
			before: func(l *lull) { l.update(vertex("compile", false)); l.update(vertex("probe", false)) },
			after:  func(l *lull) { time.Sleep(lullLength / 2); l.update(vertex("probe", true)) },
			want:   lullLength/2 + lullLength,
		},
		"never quiet": {want: lullPatience},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				l := newLull()
				held, end := l.hold(ctx)
				defer end()
				if c.before != nil {
					c.before(l)
				}
				if held.Err() != nil {
					t.Fatal("cancelled without a reason")
				}
				start := time.Now()
				cancel(cause)
				if c.after != nil {
					c.after(l)
				}
				<-held.Done()
				// The ticks of the watch are coarser than the bounds.
				if got := time.Since(start); got < c.want || got > c.want+lullLength/5 {
					t.Errorf("cancelled after %s, want %s", got, c.want)
				}
				if got := context.Cause(held); !errors.Is(got, cause) {
					t.Errorf("cause %v", got)
				}
			})
		})
	}
}
