package docker

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/llorch/llorch-bk/runtime/engine"
)

// Logs implements engine.Follower. It returns at the end of the log, or when ctx ends.
func (d *Engine) Logs(ctx context.Context, s engine.Server, w io.Writer, o engine.LogOptions) error {
	lo := container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: o.Follow}
	switch {
	case o.Tail > 0:
		lo.Tail = strconv.Itoa(o.Tail)
	case o.Tail < 0:
		lo.Tail = "0"
	}
	if !o.Since.IsZero() {
		lo.Since = o.Since.Format(time.RFC3339Nano)
	}
	r, err := d.api.ContainerLogs(ctx, s.ID, lo)
	if err == nil {
		_, err = stdcopy.StdCopy(w, w, r)
		_ = r.Close()
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// lastLines returns up to n last lines of the log, oldest first, cleaned for a terminal.
func (d *Engine) lastLines(ctx context.Context, s engine.Server, n int) []string {
	var b bytes.Buffer
	// The lines before an error are still useful.
	_ = d.Logs(ctx, s, engine.Limit(&b, engine.LogLimit), engine.LogOptions{Tail: n})
	out := engine.Lines(b.String())
	return out[max(0, len(out)-n):]
}
