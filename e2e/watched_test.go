package e2e

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
)

// watched is a command's output that can be read while it grows.
type watched struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func newWatched() *watched { return &watched{} }

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// shows waits until the command has printed text on stderr.
func (s *started) shows(t *testing.T, text string, within time.Duration) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !strings.Contains(s.stderr.String(), text) {
		if s.cmd.ProcessState != nil || time.Now().After(deadline) {
			_ = s.cmd.Process.Kill()
			t.Fatalf("%q did not show within %s:\n%s", text, within, tail(s.stderr.String(), 60))
		}
		<-time.After(10 * time.Millisecond)
	}
}
