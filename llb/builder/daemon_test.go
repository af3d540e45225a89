package builder

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
)

// daemons is a machine on which a daemon may run at a socket.
type daemons struct {
	Daemons
	// done is what was asked for.
	done []string
	// end is the error of ending the daemon.
	end error
}

func (d *daemons) EndListener(_ context.Context, socket string, grace time.Duration) error {
	d.done = append(d.done, "end "+filepath.Base(socket))
	if grace != patience {
		d.done = append(d.done, "within "+grace.String())
	}
	return d.end
}

func (d *daemons) Unmount(dir string) { d.done = append(d.done, "unmount "+filepath.Base(dir)) }

// stopped is a daemon that does not run and left its folder.
func stopped(t *testing.T) (Manager, *daemons) {
	t.Helper()
	d := &daemons{}
	m := Manager{Dir: filepath.Join(t.TempDir(), "builder"), Daemons: d}
	if err := os.MkdirAll(m.root(), 0o700); err != nil {
		t.Fatal(err)
	}
	return m, d
}

// A stopped daemon is found by its folder, and removed with it: the process first, then
// what it has mounted, then the files.
func TestRemoveDaemon(t *testing.T) {
	t.Parallel()
	m, d := stopped(t)
	states, err := m.States(t.Context())
	if want := (State{Kind: KindProcess, Where: m.Dir}); err != nil || !slices.Equal(states, []State{want}) {
		t.Fatalf("%+v, %v; want %+v", states, err, want)
	}
	if err := m.Remove(t.Context(), states[0]); err != nil {
		t.Fatal(err)
	}
	if want := []string{"end sock", "unmount builder"}; !slices.Equal(d.done, want) {
		t.Errorf("%q, want %q", d.done, want)
	}
	if _, err := os.Stat(m.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its folder is still there: %v", err)
	}
	if states, err := m.States(t.Context()); len(states) > 0 || err != nil {
		t.Errorf("still %+v, %v", states, err)
	}
}

// The files of a daemon that runs stay.
func TestRemoveDaemonThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	m, d := stopped(t)
	d.end = errors.New("end process 12: it still runs")
	err := m.Remove(t.Context(), State{Kind: KindProcess, Where: m.Dir})
	if fault.ClassOf(err) != fault.Machine || !strings.Contains(err.Error(), "process 12") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := fault.New(fault.Interrupted, "interrupted", nil, "")
	cancel(cause)
	d.end = cause
	if err := m.Remove(ctx, State{Kind: KindProcess, Where: m.Dir}); fault.ClassOf(err) != fault.Interrupted {
		t.Errorf("interrupted: %v", err)
	}
	if _, err := os.Stat(m.root()); err != nil {
		t.Errorf("its files: %v", err)
	}
}

// Another builder has nothing of the one that is kept, except for its program.
func TestFreshIsAnotherBuilder(t *testing.T) {
	t.Parallel()
	m, _ := stopped(t)
	fresh := m.Fresh("abc")
	if fresh.name() == m.name() || fresh.Dir == m.Dir || fresh.lockFile() == m.lockFile() || fresh.bins() != m.bins() {
		t.Errorf("%+v beside %+v", fresh, m)
	}
	if err := os.MkdirAll(fresh.root(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := fresh.Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fresh.Dir, fresh.lockFile()} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	if _, err := os.Stat(m.root()); err != nil {
		t.Errorf("the kept builder's files: %v", err)
	}
}
