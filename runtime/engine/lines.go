package engine

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"strings"
)

const (
	// LogLimit is how much of a log is kept, in bytes.
	LogLimit = 1 << 20
	// LineLimit is the maximum length of a line, in characters.
	LineLimit = 500
)

// StartLines returns the log's lines since the server started, enough of them to contain
// what it prints about its devices.
func StartLines(ctx context.Context, f Follower, s Server) ([]string, error) {
	var b bytes.Buffer
	err := f.Logs(ctx, s, Limit(&b, 4*LogLimit), LogOptions{Since: s.State.StartedAt})
	return Lines(b.String()), err
}

// Limit returns a writer that passes the first n bytes to w and drops the rest.
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

// Lines splits a log into lines that are clean for a terminal; it keeps their indentation.
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

// CleanLine removes control characters, since a server's log must not control the user's
// terminal. If a line overwrites itself with '\r', the last version is kept.
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
