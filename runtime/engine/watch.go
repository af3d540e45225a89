package engine

import "context"

// Watch is an Instance under observation until it is ready: what package health
// waits on.
type Watch struct {
	i     *Instance
	exits chan error
	lines chan string
}

// Watch begins to observe the container and its log. It ends with ctx.
func (i *Instance) Watch(ctx context.Context) *Watch {
	w := &Watch{i: i, exits: make(chan error, 1), lines: make(chan string, 64)}
	go i.follow(ctx, w.lines)
	exits := i.Exited(ctx)
	go func() {
		if e, ok := <-exits; ok {
			w.exits <- e.Fault()
		}
	}()
	return w
}

// URL is the server's base, without a final slash.
func (w *Watch) URL() string { return w.i.URL }

// Exited yields a *fault.Fault when the container's process has ended.
func (w *Watch) Exited() <-chan error { return w.exits }

// LogLines yields the log's lines; some may be left out.
func (w *Watch) LogLines() <-chan string { return w.lines }

// Same is Instance.Same.
func (w *Watch) Same(ctx context.Context) error { return w.i.Same(ctx) }

// Activity is Instance.Activity.
func (w *Watch) Activity(ctx context.Context) (uint64, error) { return w.i.Activity(ctx) }

// LastLines is Instance.LastLines.
func (w *Watch) LastLines(ctx context.Context, n int) []string { return w.i.LastLines(ctx, n) }
