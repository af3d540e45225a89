package health

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/llorch/llorch-bk/images/fault"
)

const (
	// firstProbe and slowestProbe bound the backoff. A probe is cheap, so the cap is low: a
	// ready server is noticed that late at worst.
	firstProbe   = 50 * time.Millisecond
	slowestProbe = time.Second
	// probeGap is the minimum time between two probes that log lines trigger.
	probeGap = 100 * time.Millisecond
	// idleShare is the Activity per second that still counts as idle: 1% of a core. An init
	// that wakes up every second, the image's health check and our probes stay far below it.
	idleShare = 10
	// lastLines is the number of log lines in an error.
	lastLines = 20
)

// Wait returns nil as soon as t is ready. Otherwise it returns a fault, of class Engine if the
// server exited and NotReady if it was too slow or hung, or the context's cause if ctx ended.
// Its goroutines have ended when it returns.
func Wait(ctx context.Context, t Target, o Options) error {
	w := &wait{t: t, o: o.withDefaults(), answers: make(chan answer, 1), samples: make(chan sample, 1)}
	var running sync.WaitGroup
	defer running.Wait()
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	return w.run(ctx, func(f func(context.Context)) { running.Go(func() { f(inner) }) })
}

// sample is one reading of a target's activity.
type sample struct {
	value uint64
	err   error
}

// wait is the state of one Wait. Only run's goroutine touches it. Probes and readings run in
// other goroutines, at most one of each at a time, and return through channels, so that an
// exit is noticed at once.
type wait struct {
	t       Target
	o       Options
	answers chan answer
	samples chan sample

	backoff   *backoff.ExponentialBackOff
	next      *time.Timer
	probing   bool
	lastProbe time.Time

	step      Step
	stepSince time.Time
	last      answer
	lastLine  string

	// progress is the last time at which the server made progress, and progressValue its
	// activity at that time.
	progress      time.Time
	progressValue uint64
	progressKnown bool
	sampling      bool
}

func (w *wait) run(ctx context.Context, spawn func(func(context.Context))) error {
	start := time.Now()
	w.step, w.stepSince, w.progress = Starting, start, start
	w.last = answer{text: "it was never probed"}
	w.backoff = backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstProbe), backoff.WithMaxInterval(slowestProbe), backoff.WithMaxElapsedTime(0),
		// Jitter is for many clients; this is one, and the cap must hold.
		backoff.WithRandomizationFactor(0))
	w.next = time.NewTimer(0)
	defer w.next.Stop()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	timeout, stopTimeout := after(w.o.Timeout)
	defer stopTimeout()
	readings, stopReadings := every(w.o.StallTimeout / 10)
	defer stopReadings()
	lines, exits := w.t.LogLines(), w.t.Exited()
	w.o.Progress(Phase{Step: w.step})

	for {
		// Handle an exit before anything else that is ready at the same time.
		select {
		case cause := <-exits:
			return w.exited(ctx, cause)
		default:
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case cause := <-exits:
			return w.exited(ctx, cause)
		case <-timeout:
			return w.notReady(ctx, fmt.Sprintf("the server was not ready within %v", w.o.Timeout),
				"raise `timeout`, or read the whole log with llorch-bk logs")
		case <-second.C:
			w.o.Progress(Phase{w.step, time.Since(w.stepSince)})
		case line, ok := <-lines:
			if !ok {
				lines = nil
				continue
			}
			w.heard(line)
		case <-w.next.C:
			if !w.probing {
				w.probing, w.lastProbe = true, time.Now()
				spawn(w.look)
			}
		case a := <-w.answers:
			w.probing = false
			if a.ready {
				w.o.Progress(Phase{Ready, time.Since(start)})
				return nil
			}
			w.note(a)
			w.next.Reset(w.backoff.NextBackOff())
		case <-readings:
			if !w.sampling {
				w.sampling = true
				spawn(w.read)
			}
		case s := <-w.samples:
			w.sampling = false
			if w.hung(s) {
				return w.notReady(ctx, fmt.Sprintf("the server hangs: it made no progress for %v", w.o.StallTimeout),
					"raise `stall-timeout` if it is only slow, or read the whole log with llorch-bk logs")
			}
		}
	}
}

// look probes the server and, if it answers ready, checks that it is the one that was started.
func (w *wait) look(ctx context.Context) {
	a := probe(ctx, w.o.Client, w.t.URL(), w.o.ProbeTimeout)
	if a.ready {
		ctx, cancel := context.WithTimeout(ctx, w.o.ProbeTimeout)
		defer cancel()
		if err := w.t.Same(ctx); err != nil {
			a = answer{step: Starting, text: fmt.Sprintf("%s answers, but it is not the server that was started: %v", w.t.URL(), err)}
		}
	}
	w.answers <- a
}

// read reads the activity once.
func (w *wait) read(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, max(w.o.StallTimeout, time.Second))
	defer cancel()
	value, err := w.t.Activity(ctx)
	w.samples <- sample{value, err}
}

// heard counts a log line as progress and triggers a probe. It ignores lines about our own
// probes, since each would trigger the next.
func (w *wait) heard(line string) {
	if strings.Contains(line, "/health") || line == w.lastLine {
		return
	}
	w.lastLine = line
	w.progress, w.progressKnown = time.Now(), false
	w.backoff.Reset()
	if !w.probing {
		w.next.Reset(max(0, probeGap-time.Since(w.lastProbe)))
	}
}

// note records an answer that was not ready.
func (w *wait) note(a answer) {
	w.last = a
	if a.step == w.step {
		return
	}
	w.step, w.stepSince = a.step, time.Now()
	w.backoff.Reset()
	w.o.Progress(Phase{Step: w.step})
}

// hung reports whether a reading shows that the server has been idle for too long. If there is
// no reading, the clock starts again.
func (w *wait) hung(s sample) bool {
	idle := time.Since(w.progress)
	if s.err != nil || !w.progressKnown || s.value < w.progressValue {
		if s.err != nil {
			w.progress = time.Now()
		} else {
			w.progressValue, w.progressKnown = s.value, true
		}
		return false
	}
	if float64(s.value-w.progressValue) > idleShare*idle.Seconds() {
		w.progress, w.progressValue = time.Now(), s.value
		return false
	}
	return idle >= w.o.StallTimeout
}

func (w *wait) exited(ctx context.Context, cause error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	lines := w.lines(ctx)
	var e explainer
	if errors.As(cause, &e) {
		return e.Explain(lines)
	}
	var f *fault.Fault
	if errors.As(cause, &f) {
		return fault.New(f.Class, f.What, f.Why, f.Do).WithLines(lines)
	}
	return fault.New(fault.Engine, "the server ended before it was ready", cause, "the server's last lines say why it ended").WithLines(lines)
}

// explainer is a cause that knows what to do, once it has the last lines of the log.
type explainer interface {
	Explain(lines []string) *fault.Fault
}

func (w *wait) notReady(ctx context.Context, what, do string) error {
	return fault.New(fault.NotReady, what, errors.New(w.last.text), do).WithLines(w.lines(ctx))
}

// lines returns the log's last lines; it has its own timeout, since the wait is over.
func (w *wait) lines(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	return w.t.LastLines(ctx, lastLines)
}

// after returns a channel that fires once after d, or never if d is 0.
func after(d time.Duration) (<-chan time.Time, func() bool) {
	if d <= 0 {
		return nil, func() bool { return false }
	}
	t := time.NewTimer(d)
	return t.C, t.Stop
}

// every returns a channel that fires at intervals of d within useful limits, or never if d is
// 0.
func every(d time.Duration) (<-chan time.Time, func()) {
	if d <= 0 {
		return nil, func() {}
	}
	t := time.NewTicker(min(max(d, 20*time.Millisecond), 5*time.Second))
	return t.C, t.Stop
}
