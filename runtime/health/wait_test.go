package health_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/health"
)

// server plays a server over time: a RoundTripper and a Target in one, so that
// a wait of minutes takes none under synctest.
type server struct {
	born      time.Time
	bind      time.Duration // connection refused before
	ready     time.Duration // 503 before; 0 is never
	body      string        // of the 200
	blackhole bool          // never answers
	same      error
	work      func(time.Duration) uint64
	workErr   error
	exits     chan error
	lines     chan string
	probes    atomic.Int64
	lastText  []string
}

func play() *server {
	return &server{
		born: time.Now(), bind: time.Second, ready: 3 * time.Second, body: `{"status":"ok"}`,
		work:  func(d time.Duration) uint64 { return uint64(d.Milliseconds()) },
		exits: make(chan error, 1), lines: make(chan string, 8), lastText: []string{"loading", "dead"},
	}
}

func (s *server) URL() string                { return "http://127.0.0.1:1" }
func (s *server) Exited() <-chan error       { return s.exits }
func (s *server) LogLines() <-chan string    { return s.lines }
func (s *server) Same(context.Context) error { return s.same }
func (s *server) Activity(context.Context) (uint64, error) {
	return s.work(time.Since(s.born)), s.workErr
}

func (s *server) LastLines(ctx context.Context, n int) []string {
	if ctx.Err() != nil {
		return nil
	}
	return s.lastText[:min(n, len(s.lastText))]
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	s.probes.Add(1)
	if s.blackhole {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	age := time.Since(s.born)
	code, body := http.StatusOK, s.body
	switch {
	case age < s.bind:
		return nil, errors.New("connection refused")
	case s.ready == 0 || age < s.ready:
		code, body = http.StatusServiceUnavailable, `{"error":{"message":"Loading model","code":503}}`
	}
	return &http.Response{StatusCode: code, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func (s *server) options() health.Options {
	return health.Options{Client: &http.Client{Transport: s}, Timeout: time.Minute}
}

func TestEndings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		with  func(*server, *health.Options)
		class fault.Class // 0 is ready
		text  string
		lines bool
		took  time.Duration // at most
	}{
		{name: "ready", with: func(*server, *health.Options) {}, took: 4 * time.Second},
		{
			name: "slow, but alive",
			with: func(s *server, o *health.Options) {
				s.ready, o.Timeout, o.StallTimeout = 20*time.Minute, 0, 30*time.Second
			},
			took: 20*time.Minute + time.Second,
		},
		{
			name: "exits while loading",
			with: func(s *server, _ *health.Options) {
				time.AfterFunc(2*time.Second, func() { s.exits <- errors.New("exited with code 1") })
			},
			class: fault.Engine, text: "exited with code 1", lines: true, took: 2 * time.Second,
		},
		{
			name: "exits while a look hangs",
			with: func(s *server, o *health.Options) {
				s.blackhole, o.ProbeTimeout = true, time.Minute
				time.AfterFunc(2*time.Second, func() { s.exits <- errors.New("died of signal 9") })
			},
			class: fault.Engine, text: "died of signal 9", lines: true, took: 2 * time.Second,
		},
		{
			name: "the cause has its own advice",
			with: func(s *server, _ *health.Options) {
				s.exits <- fault.New(fault.Machine, "no GPU", nil, "buy one")
			},
			class: fault.Machine, text: "no GPU", lines: true,
		},
		{
			name:  "too slow",
			with:  func(s *server, o *health.Options) { s.ready, o.Timeout = 0, 10*time.Second },
			class: fault.NotReady, text: "within 10s: GET /health answers 503: Loading model", lines: true, took: 10 * time.Second,
		},
		{
			name: "never binds",
			with: func(s *server, o *health.Options) { s.bind, o.Timeout = time.Hour, 10*time.Second },
			// What it was last seen doing is the cause.
			class: fault.NotReady, text: "connection refused", lines: true, took: 10 * time.Second,
		},
		{
			name: "hangs",
			with: func(s *server, o *health.Options) {
				s.ready, o.StallTimeout = 0, 20*time.Second
				// Two seconds of work, then what an idle init costs.
				s.work = func(d time.Duration) uint64 {
					return uint64(min(d, 2*time.Second).Milliseconds()) + uint64(d.Seconds())
				}
			},
			class: fault.NotReady, text: "hangs", lines: true, took: 27 * time.Second,
		},
		{
			name: "hangs and never answers",
			with: func(s *server, o *health.Options) {
				s.blackhole, o.StallTimeout = true, 20*time.Second
				s.work = func(time.Duration) uint64 { return 7 }
			},
			class: fault.NotReady, text: "hangs", lines: true, took: 23 * time.Second,
		},
		{
			name: "whose activity nobody can read does not hang",
			with: func(s *server, o *health.Options) {
				s.ready, s.workErr, o.StallTimeout = 50*time.Second, errors.New("no statistics"), 5*time.Second
			},
			took: 51 * time.Second,
		},
		{
			name: "another server on the port",
			with: func(s *server, o *health.Options) {
				s.body, o.Timeout = "<html>hello</html>", 5*time.Second
			},
			class: fault.NotReady, text: "not like llama.cpp's server", lines: true, took: 5 * time.Second,
		},
		{
			name: "another container on the port",
			with: func(s *server, o *health.Options) {
				s.same, o.Timeout = errors.New("it was restarted"), 5*time.Second
			},
			class: fault.NotReady, text: "it was restarted", lines: true, took: 5 * time.Second,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := play()
				o := s.options()
				c.with(s, &o)
				err := health.Wait(t.Context(), s, o)
				if took := time.Since(s.born); took > max(c.took, 100*time.Millisecond) {
					t.Errorf("it took %v, want at most %v", took, c.took)
				}
				if c.class == 0 {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				if fault.ClassOf(err) != c.class || !strings.Contains(err.Error(), c.text) {
					t.Errorf("class %v, %q; want class %v with %q", fault.ClassOf(err), err, c.class, c.text)
				}
				if shown := strings.Contains(fault.Report(err), "| dead"); shown != c.lines {
					t.Errorf("last lines shown: %v\n%s", shown, fault.Report(err))
				}
			})
		})
	}
}

func TestCancelIsTheCallersCause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := play()
		s.blackhole = true
		why := errors.New("ctrl-c")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		if err := health.Wait(ctx, s, s.options()); !errors.Is(err, why) {
			t.Errorf("error %v, want %v", err, why)
		}
		if d := time.Since(s.born); d != time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

// A server that becomes ready is found within the cap of the backoff, and at
// once when its log says something.
func TestLogLineTriggersALook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := play()
		s.ready = 30*time.Second + 10*time.Millisecond
		time.AfterFunc(s.ready, func() { s.lines <- "main: model loaded" })
		if err := health.Wait(t.Context(), s, s.options()); err != nil {
			t.Fatal(err)
		}
		if late := time.Since(s.born) - s.ready; late > 100*time.Millisecond {
			t.Errorf("found %v late", late)
		}
	})
}

// A log that never stops costs ten looks a second, and what the server logs of
// our own looks costs none.
func TestLogLinesAreRateLimited(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line     string
		min, max int64
	}{
		{"tensor ", 80, 130},
		{"request: GET /health 503 ", 8, 30},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := play()
			s.ready = 10 * time.Second
			s.lines = make(chan string)
			ctx, cancel := context.WithCancel(t.Context())
			var log sync.WaitGroup
			log.Go(func() {
				tick := time.NewTicker(time.Millisecond)
				defer tick.Stop()
				for i := 0; ctx.Err() == nil; i++ {
					<-tick.C
					select {
					case s.lines <- c.line + strings.Repeat("x", i%7):
					case <-ctx.Done():
					}
				}
			})
			err := health.Wait(t.Context(), s, s.options())
			cancel()
			log.Wait()
			if err != nil {
				t.Fatal(err)
			}
			if n := s.probes.Load(); n < c.min || n > c.max {
				t.Errorf("%q: %d looks, want %d to %d", c.line, n, c.min, c.max)
			}
		})
	}
}

// A server that says something new now and then is alive however little it works.
func TestNewLogLinesAreProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := play()
		s.ready = 50 * time.Second
		s.work = func(time.Duration) uint64 { return 0 }
		for i := range 10 {
			time.AfterFunc(time.Duration(i)*5*time.Second, func() { s.lines <- strings.Repeat(".", i) })
		}
		o := s.options()
		o.StallTimeout = 10 * time.Second
		if err := health.Wait(t.Context(), s, o); err != nil {
			t.Fatal(err)
		}
	})
}

func TestProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := play()
		var mu sync.Mutex
		var got []string
		o := s.options()
		o.Progress = func(p health.Phase) {
			mu.Lock()
			defer mu.Unlock()
			if len(got) == 0 || got[len(got)-1] != p.String() {
				got = append(got, p.String())
			}
		}
		if err := health.Wait(t.Context(), s, o); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"starting", "starting 1 s", "loading model", "loading model 1 s", "ready 3 s"}, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}
