package app

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/health"
	"github.com/llorch/llorch-bk/runtime/pool"
	"github.com/llorch/llorch-bk/runtime/replica"
)

// put writes the handoff of a container and gives its path.
func put(t *testing.T, dir, pool, replica, container string) string {
	t.Helper()
	path, err := handoff.Write(dir, handoff.Handoff{
		Engine: handoff.EngineLlamaCPP, URL: nobody, PoolID: pool, ReplicaID: replica,
		Container: handoff.Container{ID: container}, EngineID: fakeID, Schema: handoff.Schema,
	})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// foreign puts files into dir that are not ours, and gives what checks that
// they are still there.
func foreign(t *testing.T, dir string) func() {
	t.Helper()
	files := map[string]string{
		"vllm.json":           `{"engine":"vllm","url":"http://127.0.0.1:1","pool_id":"default","replica_id":"r0","container":{"id":"x"}}`,
		"list.json":           `[1, 2]`,
		"broken.json":         `{"engine":`,
		"llamacpp-notes.txt":  `{"pool_id":"default","replica_id":"r0","container":{"id":"x"}}`,
		"llamacpp-a-r0.json":  `{"pool_id":"b","replica_id":"r0","container":{"id":"x"}}`,
		"llamacpp-up-r0.json": `{"pool_id":"../up","replica_id":"r0","container":{"id":"x"}}`,
	}
	for name, body := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.json"), 0o755); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		for name, body := range files {
			if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != body {
				t.Errorf("%s, which is not ours: %q (%v)", name, got, err)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "folder.json")); err != nil {
			t.Error(err)
		}
	}
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// ps removes the handoffs of servers that are gone, and no file of anybody else's.
func TestPsLeavesForeignFiles(t *testing.T) {
	t.Parallel()
	f, dir := startEngine(t), t.TempDir()
	untouched := foreign(t, dir)
	alive, stale := put(t, dir, "default", "r0", "alive"), put(t, dir, "default", "r1", "gone")
	f.addServer("alive", dir, "default", "r0", llama(t, nil), alive)
	// A handoff without a container is another program's.
	external := put(t, dir, "chat", "r0", "")
	ps := func(f *fakeEngine) {
		t.Helper()
		if _, err := f.app(t).Ps(t.Context(), PsOptions{HandoffDir: dir}); err != nil {
			t.Fatal(err)
		}
	}
	ps(f)
	if !exists(t, alive) || exists(t, stale) || !exists(t, external) {
		t.Errorf("the live one is there: %v; the stale one: %v; the external one: %v", exists(t, alive), exists(t, stale), exists(t, external))
	}
	untouched()
}

// The servers of another engine cannot be seen from this one: not seen is not gone.
func TestPsOnAnotherEngine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, change := range map[string]func(*handoff.Handoff){
		"another id":                    func(h *handoff.Handoff) { h.EngineID = "ANOTHER" },
		"an older program's":            func(h *handoff.Handoff) { h.EngineID = "" },
		"another address":               func(h *handoff.Handoff) { h.EngineID, h.EngineHost = "", "tcp://elsewhere:2376" },
		"another id at this address":    func(h *handoff.Handoff) { h.EngineID = "ANOTHER" },
		"another id and address":        func(h *handoff.Handoff) { h.EngineID, h.EngineHost = "ANOTHER", "tcp://elsewhere:2376" },
		"a container with another's id": func(h *handoff.Handoff) { h.EngineID, h.Container.ID = "ANOTHER", "c2" },
	} {
		h := handoff.Handoff{PoolID: "default", ReplicaID: "r0", URL: nobody, Container: handoff.Container{ID: "c1"}, EngineID: fakeID}
		change(&h)
		path, err := handoff.Write(dir, h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := startEngine(t).app(t).Ps(t.Context(), PsOptions{HandoffDir: dir}); err != nil {
			t.Fatal(err)
		}
		if !exists(t, path) {
			t.Errorf("%s: it is gone", name)
		}
	}
}

// A project is the same through whatever link it is named.
func TestPsThroughALink(t *testing.T) {
	t.Parallel()
	f, dir := startEngine(t), t.TempDir()
	real := filepath.Join(dir, "real")
	if err := errors.Join(os.Mkdir(real, 0o755), os.Symlink("real", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	path := put(t, real, "default", "r0", "c1")
	f.addServer("c1", real, "default", "r0", llama(t, nil), path)
	pools, err := f.app(t).Ps(t.Context(), PsOptions{HandoffDir: filepath.Join(dir, "link")})
	if err != nil || len(pools) != 1 || !exists(t, path) {
		t.Errorf("pools %+v, %v; the handoff is there: %v", pools, err, exists(t, path))
	}
}

// A replica that somebody else is at is left to them.
func TestPsLeavesWhatIsClaimed(t *testing.T) {
	t.Parallel()
	f, dir := startEngine(t), t.TempDir()
	path := put(t, dir, "default", "r0", "gone")
	release, err := f.app(t).claims().Acquire(t.Context(), replica.ID{Project: dir, Pool: "default", Replica: "r0"}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	ps := func() {
		t.Helper()
		if _, err := f.app(t).Ps(t.Context(), PsOptions{HandoffDir: dir}); err != nil {
			t.Fatal(err)
		}
	}
	ps()
	if !exists(t, path) {
		t.Error("the handoff is gone, though somebody else has the replica")
	}
	release()
	ps()
	if exists(t, path) {
		t.Error("the handoff of a server that is gone is still there")
	}
}

func TestStateOf(t *testing.T) {
	t.Parallel()
	answers := func(status int) string {
		return llama(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	}
	long, short := time.Now().Add(-time.Hour), time.Now()
	running := func(since time.Time) engine.State {
		return engine.State{Status: "running", Running: true, StartedAt: since}
	}
	for name, c := range map[string]struct {
		url   string
		state engine.State
		want  string
	}{
		"ready":                  {llama(t, nil), running(long), StateReady},
		"loading":                {answers(http.StatusServiceUnavailable), running(long), StateLoading},
		"something else answers": {answers(http.StatusNotFound), running(long), StateSilent},
		"just started":           {nobody, running(short), StateLoading},
		"silent":                 {nobody, running(long), StateSilent},
		"no url":                 {"\x00", running(long), StateSilent},
		"ended":                  {nobody, engine.State{Status: "exited", ExitCode: 137}, "exited (137)"},
		"never started":          {nobody, engine.State{Status: "created"}, "created"},
		"between restarts":       {nobody, engine.State{Status: "restarting", ExitCode: 1}, "restarting"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := instance(c.url, nil)
			i.State = c.state
			seen := pool.Seen{At: time.Now(), Servers: []engine.Server{i}}
			if err := (observer{step: health.Look}).answers(t.Context(), &seen); err != nil {
				t.Fatal(err)
			}
			if got := stateOf(i, seen.Health[i.ID]); got != c.want {
				t.Errorf("state = %q, want %q", got, c.want)
			}
		})
	}
}

func TestPs(t *testing.T) {
	t.Parallel()
	f, dir, elsewhere := startEngine(t), t.TempDir(), t.TempDir()
	url := llama(t, nil)
	path := func(dir, pool string) string { return filepath.Join(dir, handoff.FileName(pool, "r0")) }
	ended := func(c *container.InspectResponse) { c.State = &container.State{Status: "exited", ExitCode: 3} }
	f.addServer("c-ready", dir, "default", "r0", url, path(dir, "default"))
	f.addServer("c-ended", dir, "ended", "r0", nobody, path(dir, "ended"), ended)
	f.addServer("c-moved", dir, "moved", "r0", url, path(dir, "moved"))
	f.addServer("c-other", elsewhere, "default", "r0", url, path(elsewhere, "default"))
	put(t, dir, "ended", "r0", "c-ended")
	put(t, dir, "moved", "r0", "c-before") // of a container that was replaced
	put(t, dir, "gone", "r0", "c-gone")

	ask := func(all bool) map[string]string {
		pools, err := f.app(t).Ps(t.Context(), PsOptions{HandoffDir: dir, AllProjects: all})
		if err != nil {
			t.Fatal(err)
		}
		states := map[string]string{}
		for _, p := range pools {
			name := p.Pool
			if p.Project != dir {
				name = "elsewhere/" + name
			}
			states[name] = p.State
			if (p.Handoff != "") != (name == "default" || name == "moved") {
				t.Errorf("%s: handoff %q", name, p.Handoff)
			}
			if p.Container != (replica.ID{Project: p.Project, Pool: p.Pool, Replica: p.Replica}).Name() || p.Model != "file:m.gguf" || p.Image != "llorch-bk:test" {
				t.Errorf("pool = %+v", p)
			}
		}
		return states
	}
	want := map[string]string{"default": StateReady, "ended": "exited (3)", "moved": StateReady}
	if d := cmp.Diff(want, ask(false)); d != "" {
		t.Errorf("states (-want +got):\n%s", d)
	}
	// What was missing is written, what is not true any more is gone.
	for pool, id := range map[string]string{"default": "c-ready", "moved": "c-moved"} {
		h, err := handoff.Read(path(dir, pool))
		if err != nil || h.Container.ID != id || h.URL != url {
			t.Errorf("handoff of %s = %+v (%v)", pool, h, err)
		}
	}
	for _, pool := range []string{"ended", "gone"} {
		if exists(t, path(dir, pool)) {
			t.Errorf("the handoff of %s is still there", pool)
		}
	}
	// One that is right is not written again: consumers look at each change.
	before, err := os.Stat(path(dir, "default"))
	if err != nil {
		t.Fatal(err)
	}
	want["elsewhere/default"] = StateReady
	if d := cmp.Diff(want, ask(true)); d != "" {
		t.Errorf("states of all projects (-want +got):\n%s", d)
	}
	after, err := os.Stat(path(dir, "default"))
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("a handoff that was right was written again (%v)", err)
	}
	if exists(t, path(elsewhere, "default")) {
		t.Error("another project's handoff was written")
	}
	if got := f.done(); len(got) > 0 {
		t.Errorf("ps changed something: %v", got)
	}
}

func TestPsOfNothing(t *testing.T) {
	t.Parallel()
	f := startEngine(t)
	pools, err := f.app(t).Ps(t.Context(), PsOptions{HandoffDir: filepath.Join(t.TempDir(), "absent")})
	if err != nil || pools == nil || len(pools) != 0 {
		t.Errorf("pools = %#v (%v), want an empty list, which is [] in JSON", pools, err)
	}
}

// Who does not want to wait for the answer has not learned that there is none.
func TestPsInterrupted(t *testing.T) {
	t.Parallel()
	f, dir := startEngine(t), t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	url := llama(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	path := put(t, dir, "default", "r0", "c1")
	f.addServer("c1", dir, "default", "r0", url, path)
	if _, err := f.app(t).Ps(ctx, PsOptions{HandoffDir: dir}); fault.ClassOf(err) != fault.Interrupted {
		t.Errorf("error = %v, want a fault.Interrupted", err)
	}
	if !exists(t, path) {
		t.Error("the handoff of a server that may be ready is gone")
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opt     StopOptions
		stopped []string
		left    []string // pools with a handoff
	}{
		"the default pool": {StopOptions{}, []string{"default", "default/r1"}, []string{"chat", "external"}},
		"one by name":      {StopOptions{Pools: []string{"chat"}}, []string{"chat"}, []string{"default", "default-r1", "external"}},
		"one without a container": {
			StopOptions{Pools: []string{"external"}}, nil, []string{"chat", "default", "default-r1"},
		},
		"one that is not": {StopOptions{Pools: []string{"nothing"}}, nil, []string{"chat", "default", "default-r1", "external"}},
		"two":             {StopOptions{Pools: []string{"chat", "default"}}, []string{"chat", "default", "default/r1"}, []string{"external"}},
		"all":             {StopOptions{All: true}, []string{"chat", "default", "default/r1"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, dir, elsewhere := startEngine(t), t.TempDir(), t.TempDir()
			untouched := foreign(t, dir)
			paths := map[string]string{
				"default": put(t, dir, "default", "r0", "c1"), "default-r1": put(t, dir, "default", "r1", "c2"),
				"chat": put(t, dir, "chat", "r0", "c3"), "external": put(t, dir, "external", "r0", "c-gone"),
			}
			f.addServer("c1", dir, "default", "r0", nobody, paths["default"])
			f.addServer("c2", dir, "default", "r1", nobody, paths["default-r1"])
			f.addServer("c3", dir, "chat", "r0", nobody, paths["chat"])
			f.addServer("c4", elsewhere, "default", "r0", nobody, put(t, elsewhere, "default", "r0", "c4"))
			c.opt.HandoffDir = dir
			stopped, err := f.app(t).Stop(t.Context(), c.opt)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.stopped, stopped); d != "" {
				t.Errorf("stopped (-want +got):\n%s", d)
			}
			if got := len(f.done()); got != 2*len(c.stopped) { // a stop and a removal each
				t.Errorf("requests = %v", f.done())
			}
			var left []string
			for _, name := range []string{"chat", "default", "default-r1", "external"} {
				if exists(t, paths[name]) {
					left = append(left, name)
				}
			}
			if d := cmp.Diff(c.left, left); d != "" {
				t.Errorf("handoffs that are left (-want +got):\n%s", d)
			}
			untouched()
			if !exists(t, filepath.Join(elsewhere, "llamacpp.json")) {
				t.Error("another project's handoff is gone")
			}
		})
	}
}

func TestStopRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := put(t, dir, "default", "r0", "c1")
	a := &App{Getenv: func(string) string { t.Error("the environment was asked"); return "" }}
	for name, opt := range map[string]StopOptions{
		"all and one":  {All: true, Pools: []string{"default"}},
		"a bad name":   {Pools: []string{"default", "../default"}},
		"an empty one": {Pools: []string{""}},
	} {
		opt.HandoffDir = dir
		if _, err := a.Stop(t.Context(), opt); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%s: error = %v, want a fault.Usage", name, err)
		}
	}
	if !exists(t, path) {
		t.Error("a refused stop removed a handoff")
	}
}

func TestLogsOfNoPool(t *testing.T) {
	t.Parallel()
	f := startEngine(t)
	err := f.app(t).Logs(t.Context(), LogsOptions{Pool: "chat", Replica: "r0", HandoffDir: t.TempDir()})
	if fault.ClassOf(err) != fault.Usage {
		t.Errorf("error = %v, want a fault.Usage", err)
	}
}
