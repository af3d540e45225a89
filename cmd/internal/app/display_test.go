package app

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/moby/buildkit/client"
)

// shown opens a display in a mode, runs fn with it, and gives what it wrote.
func shown(t *testing.T, mode string, fn func(*Display)) string {
	t.Helper()
	var b bytes.Buffer
	d, err := OpenDisplay(&b, mode)
	if err != nil {
		t.Fatal(err)
	}
	fn(d)
	d.Close()
	return b.String()
}

func TestDisplayShowsSteps(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	out := shown(t, "plain", func(d *Display) {
		if err := d.Do("find the commit", func(s *Step) error { s.Note("0123456789"); return nil }); err != nil {
			t.Error(err)
		}
		if err := d.Do("start the server", func(*Step) error { return boom }); !errors.Is(err, boom) {
			t.Errorf("Do = %v, want the step's own error", err)
		}
		d.notice("nothing was built")
	})
	for _, want := range []string{
		`(?m)^#1 find the commit$`, `(?m)^#1 .*0123456789$`, `(?m)^#1 DONE`,
		`(?m)^#2 start the server$`, `(?m)^#2 ERROR: boom$`,
		`(?m)^#3 .*nothing was built$`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no %s in:\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("escape codes in:\n%q", out)
	}
}

func TestDisplayShowsDownloads(t *testing.T) {
	t.Parallel()
	out := shown(t, "plain", func(d *Display) {
		s := d.Begin("model.gguf", 2000000)
		s.Set(1000000)
		s.End(nil)
	})
	for _, want := range []string{"model.gguf", "2.00MB / 2.00MB", "done"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

func TestDisplayModes(t *testing.T) {
	t.Parallel()
	step := func(d *Display) { _ = d.Do("a step", func(*Step) error { return nil }) }
	for _, mode := range []string{"auto", "plain"} {
		if out := shown(t, mode, step); !strings.Contains(out, "a step") {
			t.Errorf("%s without a terminal shows %q", mode, out)
		}
	}
	if out := shown(t, "quiet", step); out != "" {
		t.Errorf("quiet shows %q", out)
	}
	if out := shown(t, "json", step); !strings.HasPrefix(out, "{") || !strings.Contains(out, `"name":"a step"`) {
		t.Errorf("json shows %q", out)
	}
	for _, mode := range []string{"tty", "nonsense"} {
		d, err := OpenDisplay(io.Discard, mode)
		if fault.ClassOf(err) != fault.Usage {
			t.Errorf("%s without a terminal: error = %v, want a fault.Usage", mode, err)
		}
		if d != nil {
			t.Errorf("%s: a display in spite of the error", mode)
		}
	}
}

// Whoever is late, for instance a download that is told to stop, does no harm.
func TestDisplayAfterClose(t *testing.T) {
	t.Parallel()
	out := shown(t, "plain", func(d *Display) {
		open := d.Begin("never ended", 10)
		d.Close()
		d.Close()
		for range 200 { // more than could wait unseen
			d.Update(&client.SolveStatus{})
			open.Set(5)
			open.Note("too late")
		}
		open.End(errors.New("too late"))
		if err := d.Do("too late", func(*Step) error { return nil }); err != nil {
			t.Error(err)
		}
	})
	if strings.Contains(out, "too late") {
		t.Errorf("written after Close:\n%s", out)
	}
}

func TestDisplayIsShared(t *testing.T) {
	t.Parallel()
	const workers, steps = 8, 20
	out := shown(t, "plain", func(d *Display) {
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := range steps {
					_ = d.Do(fmt.Sprintf("step %d of %d.", i, w), func(s *Step) error { s.Note("a note"); return nil })
				}
			})
		}
		wg.Wait()
		// And once more while it closes.
		wg.Go(func() { _ = d.Do("maybe", func(*Step) error { return nil }) })
		wg.Go(d.Close)
		wg.Wait()
	})
	for w := range workers {
		for i := range steps {
			if name := fmt.Sprintf("step %d of %d.", i, w); !strings.Contains(out, name) {
				t.Errorf("%q is not shown", name)
			}
		}
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// Work goes on where nobody can see it.
func TestDisplayWithoutAReader(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		d, err := OpenDisplay(brokenPipe{}, "plain")
		if err != nil {
			t.Error(err)
			return
		}
		for range 200 {
			_ = d.Do("unseen", func(*Step) error { return nil })
		}
		d.Close()
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("the display blocks the work")
	}
}
