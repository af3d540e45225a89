package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// watcher ends a request that makes no progress.
type watcher struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
}

func watch(parent context.Context, stall time.Duration) *watcher {
	ctx, cancel := context.WithCancelCause(parent)
	w := &watcher{ctx: ctx, cancel: cancel, stall: stall}
	w.timer = time.AfterFunc(stall, func() { cancel(ErrStalled) })
	w.timer.Stop()
	return w
}

func (w *watcher) arm()    { w.timer.Reset(w.stall) }
func (w *watcher) disarm() { w.timer.Stop() }
func (w *watcher) end()    { w.timer.Stop(); w.cancel(nil) }

// explain replaces "context canceled" by the reason why the request was ended.
func (w *watcher) explain(host string, err error) error {
	if cause := context.Cause(w.ctx); cause != nil {
		if errors.Is(cause, ErrStalled) {
			return &NetworkError{host, fmt.Errorf("%w for %v", ErrStalled, w.stall)}
		}
		return cause
	}
	if IsCertificate(err) {
		return fmt.Errorf("%s: %w", host, err)
	}
	return &NetworkError{host, err}
}

// progressBytes is how much must come to count as progress. A server that sends a byte
// now and then is no better than one that sends none.
const progressBytes = 4 << 10

type watchedBody struct {
	io.ReadCloser
	host string
	w    *watcher
	// waited is the time spent waiting for the network since the last progress, and came
	// is what came in that time, in bytes.
	waited time.Duration
	came   int
}

// Read counts the time that the network takes, not the time between two reads.
func (b *watchedBody) Read(p []byte) (int, error) {
	began := time.Now()
	b.w.timer.Reset(max(b.w.stall-b.waited, time.Millisecond))
	n, err := b.ReadCloser.Read(p)
	b.w.disarm()
	b.waited, b.came = b.waited+time.Since(began), b.came+n
	if b.came >= progressBytes {
		b.waited, b.came = 0, 0
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.w.explain(b.host, err)
	}
	return n, err
}

// Close ends the request.
func (b *watchedBody) Close() error {
	defer b.w.end()
	return b.ReadCloser.Close()
}
