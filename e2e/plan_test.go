package e2e

import (
	"encoding/json"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
)

// TestFixtureDryRun checks that --dry-run does nothing, and that it prints the plan that the
// next command carries out, as the engine's events show.
func TestFixtureDryRun(t *testing.T) {
	p := fixture(t)
	model := p.model()
	repo := gitrepo.New(t, tinyengine.Tree())
	url := repo.Serve()
	up := func(more ...string) []string {
		return append([]string{"up", "--source", url, "--model", model}, more...)
	}
	for _, c := range []struct {
		name string
		args []string
		says string
	}{
		{"nothing there", up(), "pool default is not running"},
		{"the same", up(), "it already runs this server"},
		{"another context", up("--ctx", "256"), "its flags differ"},
		{"another port", up("--ctx", "256", "--port", strconv.Itoa(freePort(t))), "its port is "},
		{"stop", []string{"stop"}, "its pool is being stopped"},
		{"stop of nothing", []string{"stop"}, ""},
	} {
		began := time.Now()
		// With -- in no command here, a flag at the end is a flag of ours.
		dry := p.must(append(slices.Clone(c.args), "--dry-run", "--json")...)
		if did := p.happened(began); len(did) > 0 {
			t.Errorf("%s: a dry run did %v", c.name, did)
		}
		var plan struct {
			Ops []struct{ Do, On, Why string }
		}
		if err := json.Unmarshal([]byte(dry.stdout), &plan); err != nil {
			t.Fatalf("%s: %v\n%s", c.name, err, dry)
		}
		var want []string
		server := "" // what the plan itself makes
		says := c.says == ""
		for _, op := range plan.Ops {
			says = says || strings.Contains(op.Why, c.says)
			on := strings.TrimPrefix(op.On, "container ")
			if on == "the new server" {
				on = server
			}
			switch op.Do {
			case "create":
				server = on
				want = append(want, "create "+on)
			case "start", "stop":
				want = append(want, op.Do+" "+on)
			case "remove":
				want = append(want, "destroy "+on)
			case "rename":
				want = append(want, "rename "+on)
			}
		}
		if !says {
			t.Errorf("%s: %q is not in\n%s", c.name, c.says, dry)
		}
		began = time.Now()
		p.must(c.args...)
		did := p.happened(began)
		// A removal of a server that runs stops it first.
		if c.args[0] == "stop" {
			did = slices.DeleteFunc(did, func(s string) bool { return strings.HasPrefix(s, "stop ") })
		}
		if !slices.Equal(did, want) {
			t.Errorf("%s: the plan was %v, and the engine did %v", c.name, want, did)
		}
	}
	// What has to be built first is said, and the rest as far as it can be told.
	repo.Commit("something new", map[string]string{"NOTICE": "new"})
	p.must("run", fixtureTag, "--model", model)
	text := p.must(up("--dry-run")...)
	for _, line := range []string{"build an image: the engine has no matching image", "its image is another one", "if a later step fails:"} {
		if !strings.Contains(text.stdout, line) {
			t.Errorf("%q is not in\n%s", line, text)
		}
	}
}

// happened is what the engine did to the project's servers since a moment.
func (p *project) happened(since time.Time) []string {
	p.t.Helper()
	stamp := func(t time.Time) string { return strconv.FormatFloat(float64(t.UnixNano())/1e9, 'f', 9, 64) }
	ctx := p.t.Context()
	messages, errs := p.api.Events(ctx, events.ListOptions{Since: stamp(since), Until: stamp(time.Now()), Filters: filters.NewArgs(
		filters.Arg("type", "container"), filters.Arg("label", "dev.llorch.role=server"), filters.Arg("label", "dev.llorch.project="+p.handoffDir()))})
	var out []string
	for {
		select {
		case m := <-messages:
			name := m.Actor.Attributes["name"]
			if old := m.Actor.Attributes["oldName"]; old != "" {
				name = strings.TrimPrefix(old, "/")
			}
			switch m.Action {
			case events.ActionCreate, events.ActionStart, events.ActionStop, events.ActionDestroy, events.ActionRename:
				out = append(out, string(m.Action)+" "+name)
			}
		case <-errs:
			return out
		}
	}
}

// freePort is a port that is not in use.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestFixtureComesBack checks that a run that cannot replace a server leaves it running: it is
// not touched if the problem is known before, and is started again otherwise.
func TestFixtureComesBack(t *testing.T) {
	p := fixture(t)
	model := p.model()
	p.must("run", fixtureTag, "--model", model)
	first, _ := p.handoff("default")
	busy, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := strconv.Itoa(busy.Addr().(*net.TCPAddr).Port)
	for name, c := range map[string]struct {
		code  int
		words []string
		args  []string
		// touched is whether it has to be stopped to find out.
		touched bool
	}{
		"a port in use":        {6, []string{port, "in use"}, []string{"--port", port}, false},
		"more CPUs than there": {2, []string{"--cpus must be at most"}, []string{"--cpus", "9999"}, false},
		"an unknown flag":      {6, []string{"--no-such-flag", "correct the server's flags"}, []string{"--", "--no-such-flag"}, true},
		"never ready":          {7, []string{"--timeout"}, []string{"--timeout", "2s", "--", "--fixture-never-ready"}, true},
	} {
		began := time.Now()
		p.run(append([]string{"run", fixtureTag, "--model", model}, c.args...)...).wants(t, c.code, c.words...)
		h, ok := p.handoff("default")
		if !ok || h.Container.ID != first.Container.ID || h.URL != first.URL {
			t.Fatalf("%s: the handoff is %+v (%v), before it was %+v", name, h, ok, first)
		}
		if code, _ := get(t, h.URL+"/health"); code != 200 {
			t.Errorf("%s: /health of what ran before: %d", name, code)
		}
		if did := p.happened(began); (len(did) > 0) != c.touched {
			t.Errorf("%s: the engine did %v", name, did)
		}
		if n := p.containers(); len(n) != 1 {
			t.Errorf("%s: containers %v", name, n)
		}
	}
	// Ctrl-C in the middle of a replacement brings it back too.
	s := p.start("run", fixtureTag, "--model", model, "--", "--fixture-never-ready")
	s.shows(t, "loading model", time.Minute)
	s.interrupt()
	s.wait().wants(t, 130)
	if h, ok := p.handoff("default"); !ok || h.Container.ID != first.Container.ID {
		t.Errorf("after Ctrl-C the handoff is %+v (%v)", h, ok)
	}
}

// TestFixtureStopEndsAStart checks that stop ends a run that waits for its server.
func TestFixtureStopEndsAStart(t *testing.T) {
	p := fixture(t)
	s := p.start("run", fixtureTag, "--model", p.model(), "--", "--fixture-never-ready")
	s.shows(t, "loading model", time.Minute)
	p.must("stop", "--grace", "1s")
	s.wait().wants(t, 6, "before it was ready")
	p.leftNothing()
}
