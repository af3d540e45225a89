package health

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Target is a server that was started and is not ready yet. Its methods are
// called from several goroutines and return soon after their context ends.
type Target interface {
	// URL is the server's base, without a final slash.
	URL() string
	// Exited yields one value when what was started no longer runs: the cause. One
	// with a method Explain(lines []string) *fault.Fault says what to do about it;
	// a *fault.Fault is kept, its advice too.
	Exited() <-chan error
	// LogLines yields the log's lines as they come. It may be nil, may close and
	// may leave lines out: a line only says that it is time to look.
	LogLines() <-chan string
	// Same is nil when the very thing that was started runs now.
	Same(ctx context.Context) error
	// Activity is a number that grows with the work that is done: 1000 is
	// about what one CPU core does in a second.
	Activity(ctx context.Context) (uint64, error)
	// LastLines are up to n last lines of the log, oldest first.
	LastLines(ctx context.Context, n int) []string
}

// Step is how far a server is.
type Step string

// The steps, in their order.
const (
	// Starting is before the server answers.
	Starting Step = "starting"
	// Loading is while the server answers that it is not ready.
	Loading Step = "loading model"
	// Ready is the last step.
	Ready Step = "ready"
)

// Phase is the step that a server is in, and since when.
type Phase struct {
	Step Step
	// For is how long it has been in this step.
	For time.Duration
}

// String is a few words for a progress display: "loading model 12 s".
func (p Phase) String() string {
	if p.For < time.Second {
		return string(p.Step)
	}
	return fmt.Sprintf("%s %d s", p.Step, int(p.For/time.Second))
}

// Options says how patient a wait is. The zero value waits for ever.
type Options struct {
	// Timeout bounds the whole wait; 0 is no bound.
	Timeout time.Duration
	// StallTimeout is how long a server may do next to nothing before it counts
	// as hung; 0 is for ever.
	StallTimeout time.Duration
	// ProbeTimeout bounds one look at /health; 0 is two seconds.
	ProbeTimeout time.Duration
	// Progress is told each new phase, and again about once a second. It is
	// called from one goroutine and must not block. May be nil.
	Progress func(Phase)
	// Client talks to the server; nil is NewClient's.
	Client *http.Client
}

func (o Options) withDefaults() Options {
	if o.ProbeTimeout <= 0 {
		o.ProbeTimeout = 2 * time.Second
	}
	if o.Progress == nil {
		o.Progress = func(Phase) {}
	}
	if o.Client == nil {
		o.Client = NewClient()
	}
	return o
}
