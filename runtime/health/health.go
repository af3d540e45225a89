package health

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Target is a server that was started and is not ready yet. Its methods are called from
// several goroutines, and return soon after their context ends.
type Target interface {
	// URL is the server's base URL, without a trailing slash.
	URL() string
	// Exited receives the cause when the server no longer runs. A cause with a method
	// Explain(lines []string) *fault.Fault supplies the advice; a *fault.Fault is kept with
	// its own.
	Exited() <-chan error
	// LogLines receives new log lines. It may be nil, may be closed and may drop lines: a line
	// only triggers a probe.
	LogLines() <-chan string
	// Same returns nil if the process that was started still runs.
	Same(ctx context.Context) error
	// Activity grows with the work that the server does: 1000 is about one second of one CPU
	// core.
	Activity(ctx context.Context) (uint64, error)
	// LastLines returns up to n last lines of the log, oldest first.
	LastLines(ctx context.Context, n int) []string
}

// Step is a server's progress towards readiness.
type Step string

// The steps, in order.
const (
	// Starting: the server does not answer yet.
	Starting Step = "starting"
	// Loading: the server answers that it is not ready.
	Loading Step = "loading model"
	// Ready: the server is ready.
	Ready Step = "ready"
)

// Phase is a server's step and how long it has been in it.
type Phase struct {
	Step Step
	// For is the time in this step.
	For time.Duration
}

// String is a short text for a progress display: "loading model 12 s".
func (p Phase) String() string {
	if p.For < time.Second {
		return string(p.Step)
	}
	return fmt.Sprintf("%s %d s", p.Step, int(p.For/time.Second))
}

// Options configure a wait. The zero value waits for ever.
type Options struct {
	// Timeout bounds the whole wait; 0 for no limit.
	Timeout time.Duration
	// StallTimeout is how long a server may be inactive before it counts as hung; 0 for no
	// limit.
	StallTimeout time.Duration
	// ProbeTimeout bounds one request to /health; 0 means two seconds.
	ProbeTimeout time.Duration
	// Progress receives each new phase, and the current one about once a second. It is called
	// from one goroutine and must not block. It may be nil.
	Progress func(Phase)
	// Client makes the requests; nil means NewClient.
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
