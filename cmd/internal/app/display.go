package app

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/opencontainers/go-digest"
)

// ProgressModes are the values of --progress.
var ProgressModes = []string{"auto", "tty", "plain", "json", "quiet"}

// Display is the one progress stream of a command. It shows builds, downloads and waits
// side by side in BuildKit's own display.
type Display struct {
	ch   chan *client.SolveStatus
	done chan struct{}

	mu     sync.Mutex
	closed bool
}

// OpenDisplay starts to show progress on w. Call Close before anything else is written
// to w.
func OpenDisplay(w io.Writer, mode string) (*Display, error) {
	name := progressui.DisplayMode(mode)
	if mode == "json" {
		name = progressui.RawJSONMode
	}
	ui, err := progressui.NewDisplay(w, name)
	if err != nil {
		return nil, fault.New(fault.Usage, fmt.Sprintf("cannot show progress as %q", mode), err, "use --progress auto, plain, json or quiet")
	}
	d := &Display{ch: make(chan *client.SolveStatus, 64), done: make(chan struct{})}
	go func() {
		defer close(d.done)
		// The display ends when its channel closes, not when the command is cancelled: the
		// clean-up after Ctrl-C is shown too.
		_, _ = ui.UpdateFrom(context.Background(), d.ch)
		for range d.ch {
			// Drain the channel, so that a failed display does not block the work.
		}
	}()
	return d, nil
}

// Update shows a builder's status. A nil Display shows nothing.
func (d *Display) Update(s *client.SolveStatus) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.ch <- s
	}
}

// Close ends the display and waits until everything is written.
func (d *Display) Close() {
	d.mu.Lock()
	if !d.closed {
		d.closed = true
		close(d.ch)
	}
	d.mu.Unlock()
	<-d.done
}

// Step is one of llorch-bk's own steps in the display.
type Step struct {
	d     *Display
	name  string
	id    digest.Digest
	began time.Time
	total int64
	// verb says what happens to the bytes, as in "downloading".
	verb string
}

// Begin shows a new step. A total above 0 makes it a download of that many bytes.
func (d *Display) Begin(name string, total int64) *Step { return d.begin(name, "downloading", total) }

// begin shows a new step that processes total bytes; 0 if the size is unknown.
func (d *Display) begin(name, verb string, total int64) *Step {
	s := &Step{d: d, name: name, id: digest.FromString(identity.NewID()), began: time.Now(), total: total, verb: verb}
	d.Update(&client.SolveStatus{Vertexes: []*client.Vertex{{Digest: s.id, Name: name, Started: &s.began}}})
	if total > 0 {
		s.Set(0)
	}
	return s
}

// Set shows how many bytes are done.
func (s *Step) Set(current int64) { s.status(s.verb, current, s.total, false) }

func (s *Step) status(name string, current, total int64, completed bool) {
	now := time.Now()
	st := &client.VertexStatus{ID: name, Vertex: s.id, Name: name, Current: current, Total: total, Timestamp: now, Started: &s.began}
	if completed {
		st.Completed = &now
	}
	s.d.Update(&client.SolveStatus{Statuses: []*client.VertexStatus{st}})
}

// Note shows a line of text under the step.
func (s *Step) Note(line string) {
	s.d.Update(&client.SolveStatus{Logs: []*client.VertexLog{{Vertex: s.id, Stream: 1, Data: []byte(line + "\n"), Timestamp: time.Now()}}})
}

// End completes the step; a non-nil err marks it as failed.
func (s *Step) End(err error) {
	now := time.Now()
	if s.total > 0 && err == nil {
		s.status(s.verb, s.total, s.total, true)
	}
	v := &client.Vertex{Digest: s.id, Name: s.name, Started: &s.began, Completed: &now}
	if err != nil {
		v.Error = err.Error()
	}
	s.d.Update(&client.SolveStatus{Vertexes: []*client.Vertex{v}})
}

// Do shows fn as a step and returns its error.
func (d *Display) Do(name string, fn func(*Step) error) error {
	s := d.Begin(name, 0)
	err := fn(s)
	s.End(err)
	return err
}
