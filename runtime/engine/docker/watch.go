package docker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/llorch/llorch-bk/runtime/engine"
)

// watch observes one server.
type watch struct {
	d     *Engine
	s     engine.Server
	exits chan error
	lines chan string
}

// Watch implements engine.Follower.
func (d *Engine) Watch(ctx context.Context, s engine.Server) engine.Watch {
	w := &watch{d: d, s: s, exits: make(chan error, 1), lines: make(chan string, 64)}
	go w.follow(ctx)
	go w.await(ctx)
	return w
}

func (w *watch) URL() string { return w.s.URL }

func (w *watch) Exited() <-chan error { return w.exits }

func (w *watch) LogLines() <-chan string { return w.lines }

// await reports the end of the container's process, at once if it is not running.
func (w *watch) await(ctx context.Context) {
	done, failed := w.d.api.ContainerWait(ctx, w.s.ID, container.WaitConditionNotRunning)
	e := &engine.Ended{}
	select {
	case <-ctx.Done():
		return
	case <-done:
		now, err := w.d.inspect(ctx, w.s.ID)
		e.State, e.Err = now.State, err
		if e.State.Status == container.StateRemoving {
			e = &engine.Ended{Err: engine.ErrGone} // the removal killed it
		}
	case err := <-failed:
		e.Err = err
		if errdefs.IsNotFound(err) {
			e.Err = engine.ErrGone
		}
	}
	if ctx.Err() == nil {
		w.exits <- e
	}
}

// follow sends new log lines. It drops a line if nobody receives it.
func (w *watch) follow(ctx context.Context) {
	defer close(w.lines)
	r, to := io.Pipe()
	go func() { to.CloseWithError(w.d.Logs(ctx, w.s, to, engine.LogOptions{Follow: true})) }()
	defer r.Close()
	for b := bufio.NewReaderSize(r, 64<<10); ; {
		line, more, err := b.ReadLine()
		if err != nil {
			return
		}
		if more { // the rest of a long line follows as a separate line
			line = line[:min(len(line), engine.LineLimit)]
		}
		select {
		case w.lines <- engine.CleanLine(string(line)):
		case <-ctx.Done():
			return
		default:
		}
	}
}

// Same returns nil if the container still runs the process that was started or found: it was
// neither stopped nor restarted since.
func (w *watch) Same(ctx context.Context) error {
	now, err := w.d.inspect(ctx, w.s.ID)
	switch {
	case err != nil:
		return err
	case !now.State.Running:
		return fmt.Errorf("the container is %s", now.State.Status)
	case !now.State.StartedAt.Equal(w.s.State.StartedAt):
		return errors.New("the container was restarted")
	}
	return nil
}

// Activity counts milliseconds of CPU time. 512 KiB read or written count as 10, so that a
// server that waits for a slow disk counts as active.
func (w *watch) Activity(ctx context.Context) (uint64, error) {
	r, err := w.d.api.ContainerStatsOneShot(ctx, w.s.ID)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	var s container.StatsResponse
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		return 0, err
	}
	var bytes uint64
	for _, e := range s.BlkioStats.IoServiceBytesRecursive {
		if op := strings.ToLower(e.Op); op == "read" || op == "write" {
			bytes += e.Value
		}
	}
	return s.CPUStats.CPUUsage.TotalUsage/uint64(time.Millisecond) + bytes*20>>20, nil
}

// LastLines returns none if the log cannot be read.
func (w *watch) LastLines(ctx context.Context, n int) []string {
	return w.d.lastLines(ctx, w.s, n)
}
