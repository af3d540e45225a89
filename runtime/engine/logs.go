package engine

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// LogOptions says which part of a log is wanted.
type LogOptions struct {
	// Follow goes on with what is logged from now on, until the container ends.
	Follow bool
	// Tail is how many of the last lines to begin with; 0 is all, negative none.
	Tail int
	// Since leaves out what is older; zero leaves out nothing.
	Since time.Time
}

// Logs writes the container's output and errors to w, as they came. It ends
// with the log or with ctx.
func (i *Instance) Logs(ctx context.Context, w io.Writer, o LogOptions) error {
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
	r, err := i.d.api.ContainerLogs(ctx, i.ID, lo)
	if err == nil {
		_, err = stdcopy.StdCopy(w, w, r)
		_ = r.Close()
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

const (
	// logLimit bounds what is kept of a log's end, and lineLimit a line of it.
	logLimit  = 1 << 20
	lineLimit = 500
)

// LastLines are up to n last lines of the log, oldest first, fit for a terminal.
// Where the log cannot be read there are none.
func (i *Instance) LastLines(ctx context.Context, n int) []string {
	var b bytes.Buffer
	// What was read before an error is still worth showing.
	_ = i.Logs(ctx, &limited{w: &b, left: logLimit}, LogOptions{Tail: n})
	out := cleanLines(b.String())
	return out[max(0, len(out)-n):]
}

// limited drops what is beyond its limit.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	keep := p[:min(len(p), l.left)]
	l.left -= len(keep)
	if _, err := l.w.Write(keep); err != nil {
		return 0, err
	}
	return len(p), nil
}

var escape = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]`)

// cleanLine takes from a line what a terminal would act upon: a server's log is
// not to be trusted with the user's screen. Of a line that was written over, the
// last writing counts.
func cleanLine(line string) string {
	line = strings.TrimRight(line, "\r\n")
	if i := strings.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}
	line = strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, escape.ReplaceAllString(strings.ToValidUTF8(line, "�"), ""))
	if r := []rune(line); len(r) > lineLimit {
		line = string(r[:lineLimit]) + "…"
	}
	return strings.TrimRight(line, " ")
}

// follow sends the log's lines from now on to out and closes it at the end. A
// line that nobody takes is left out.
func (i *Instance) follow(ctx context.Context, out chan<- string) {
	defer close(out)
	r, w := io.Pipe()
	go func() { w.CloseWithError(i.Logs(ctx, w, LogOptions{Follow: true})) }()
	defer r.Close()
	for b := bufio.NewReaderSize(r, 64<<10); ; {
		line, more, err := b.ReadLine()
		if err != nil {
			return
		}
		if more { // the rest of a very long line comes as a line of its own
			line = line[:min(len(line), lineLimit)]
		}
		select {
		case out <- cleanLine(string(line)):
		case <-ctx.Done():
			return
		default:
		}
	}
}
