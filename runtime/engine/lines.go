package engine

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"strings"
)

const (
	// LogLimit bounds, in bytes, what is kept of a log.
	LogLimit = 1 << 20
	// LineLimit bounds a line of it, in characters.
	LineLimit = 500
)

// StartLines are the log's lines since the server started, as many as hold what a
// server says of its devices.
func StartLines(ctx context.Context, f Follower, s Server) ([]string, error) {
	var b bytes.Buffer
	err := f.Logs(ctx, s, Limit(&b, 4*LogLimit), LogOptions{Since: s.State.StartedAt})
	return Lines(b.String()), err
}

// Limit is w without what is written beyond n bytes.
func Limit(w io.Writer, n int) io.Writer { return &limited{w: w, left: n} }

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

// Lines are a log's lines fit for a terminal, with what they are indented by.
func Lines(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = CleanLine(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

var escape = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]`)

// CleanLine takes from a line what a terminal would act upon: a server's log is
// not to be trusted with the user's screen. Of a line that was written over, the
// last writing counts.
func CleanLine(line string) string {
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
	if r := []rune(line); len(r) > LineLimit {
		line = string(r[:LineLimit]) + "…"
	}
	return strings.TrimRight(line, " ")
}
