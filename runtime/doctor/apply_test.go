package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llorch/llorch-bk/images/fault"
)

// recorder is a Runner that runs nothing.
type recorder struct {
	ran []string
	// fails maps the start of a command line to the lines with which it fails.
	fails map[string][]string
	says  []string
}

func (r *recorder) Run(_ context.Context, argv []string, log func(string)) ([]string, error) {
	line := shellLine(argv)
	r.ran = append(r.ran, line)
	for start, lines := range r.fails {
		if strings.HasPrefix(line, start) {
			return lines, errors.New("exit status 1")
		}
	}
	for _, l := range r.says {
		log(l)
	}
	return r.says, nil
}

func TestApplyRunsWhatThePlanSays(t *testing.T) {
	t.Parallel()
	m := debian()
	m.file("/run/systemd/system", "")
	steps := Plan(Inspect(t.Context(), *m), Want{Engine: true})
	m.running(modern)
	r := &recorder{}
	for _, s := range steps {
		if err := (Applier{System: *m, Runner: r}).Apply(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"apt-get update", aptInstall + "docker.io iptables", "systemctl enable --now docker"}
	if diff := cmp.Diff(want, r.ran); diff != "" {
		t.Errorf("ran (-want +got):\n%s", diff)
	}
	if again := Plan(Inspect(t.Context(), *m), Want{Engine: true}); again != nil {
		t.Errorf("afterwards there is still %v", outline(again))
	}
}

func TestApplyInstall(t *testing.T) {
	t.Parallel()
	m := debian()
	step := Plan(Inspect(t.Context(), *m), Want{Engine: true})[0]
	for _, tc := range []struct {
		name  string
		fails map[string][]string
		lines []string
		ok    bool
	}{
		{name: "a broken list of a third party", fails: map[string][]string{"apt-get update": {"E: node.test"}}, ok: true},
		{name: "no such package", fails: map[string][]string{"env": {"E: docker.io"}}, lines: []string{"E: docker.io"}},
		{
			name:  "both",
			fails: map[string][]string{"apt-get update": {"E: node.test"}, "env": {"E: docker.io"}},
			lines: []string{"E: node.test", "E: docker.io"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := Applier{System: *m, Runner: &recorder{fails: tc.fails}}.Apply(t.Context(), step)
			if tc.ok {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var f *fault.Fault
			if !errors.As(err, &f) || f.Class != fault.Machine || !slices.Equal(f.Lines, tc.lines) {
				t.Fatalf("got %v with lines %q", err, f.Lines)
			}
			if !strings.Contains(f.Do, "apt-get update") {
				t.Errorf("advice is %q", f.Do)
			}
		})
	}
}

func TestApplyManualStep(t *testing.T) {
	t.Parallel()
	err := Applier{System: *debian()}.Apply(t.Context(), Step{What: "do that", Commands: []string{"that"}})
	if !errors.Is(err, ErrManual) || fault.ClassOf(err) != fault.Machine {
		t.Errorf("got %v", err)
	}
}

func TestApplyShowsTheServicesLog(t *testing.T) {
	t.Parallel()
	step := Step{What: "start the engine", action: runAndWait{argv: []string{"systemctl", "start"}, journal: []string{"journalctl"}}}
	r := &recorder{fails: map[string][]string{"systemctl": {"Job failed"}}, says: []string{"no space left on device"}}
	err := Applier{System: *debian(), Runner: r}.Apply(t.Context(), step)
	var f *fault.Fault
	if !errors.As(err, &f) || !slices.Equal(f.Lines, r.says) {
		t.Errorf("got %v", err)
	}
}

func TestWaitEndsWhenTheEngineRefusesOnly(t *testing.T) {
	t.Parallel()
	m := ubuntu()
	step := Step{What: "wait for the engine", action: waitForEngine{}}
	m.dial = os.ErrPermission
	if err := (Applier{System: *m}).Apply(t.Context(), step); err != nil {
		t.Errorf("an engine that refuses this user runs, yet: %v", err)
	}
	m.dial = os.ErrNotExist
	err := Applier{System: *m, Timeout: 10 * time.Millisecond}.Apply(t.Context(), step)
	if fault.ClassOf(err) != fault.Machine || !strings.Contains(err.Error(), "did not answer within 10ms") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (Applier{System: *m}).Apply(ctx, step); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the interruption", err)
	}
}

func TestApplyChangesConfigOnce(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "etc", "daemon.json")
	r := &recorder{}
	step := Step{What: "change", action: changeConfig{path: file, changes: map[string]any{"a": 1}, reload: []string{"reload"}}}
	for range 2 {
		if err := (Applier{System: *debian(), Runner: r}).Apply(t.Context(), step); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"reload"}, r.ran); diff != "" {
		t.Errorf("ran (-want +got):\n%s", diff)
	}
}

func TestHostRun(t *testing.T) {
	t.Parallel()
	var log []string
	lines, err := Host{}.Run(t.Context(), []string{"sh", "-c", "for i in $(seq 30); do echo $i; done; echo bad >&2; exit 3"}, func(l string) { log = append(log, l) })
	if err == nil || len(log) != 31 || len(lines) != logLines || lines[logLines-1] != "bad" {
		t.Errorf("got %q, %v", lines, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = Host{}.Run(ctx, []string{"sh", "-c", "echo up; exec sleep 600"}, func(string) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the interruption", err)
	}
}

func TestHostInspectsThisMachine(t *testing.T) {
	t.Parallel()
	h := Host{EngineAddr: "unix://" + filepath.Join(t.TempDir(), "none"), EngineChosen: true, Engine: func(context.Context) (EngineInfo, error) {
		return EngineInfo{}, fmt.Errorf("no engine here")
	}}
	s := Inspect(t.Context(), h)
	if s.OS == "" || s.User.Name == "" || s.Engine.Problem != Down {
		t.Errorf("state is %+v", s)
	}
	if got := (Host{}).Platform().EngineAddr; got != "unix:///var/run/docker.sock" {
		t.Errorf("without an address it is %q", got)
	}
}
