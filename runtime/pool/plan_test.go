package pool_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/pool"
	"github.com/llorch/llorch-bk/runtime/replica"
)

var update = flag.Bool("update", false, "write the golden files anew")

const project = "/p/.runtime/engines"

var (
	id  = replica.ID{Project: project, Pool: "default", Replica: "r0"}
	now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
)

// wanted is a server without a GPU.
func wanted() pool.Wanted {
	return pool.Wanted{Spec: engine.Spec{
		Project: project, Pool: "default", Replica: "r0", Handoff: project + "/llamacpp.json",
		Image: "sha256:new", ImageRef: "llorch-bk:new", Flags: []string{"--metrics"},
		Model:  engine.Model{HostFile: "/m/x.gguf", SHA256: "abc"},
		Labels: map[string]string{engine.LabelModel: "hf:o/x", engine.LabelFlags: `["--metrics"]`},
	}}
}

// onGPU is the same for a GPU; cpu is what --allow-cpu allows.
func onGPU(cpu bool) pool.Wanted {
	w := wanted()
	if cpu {
		spec := w.Spec
		spec.Flags = []string{"--n-gpu-layers", "0", "--metrics"}
		w.CPU = &spec
	}
	w.Spec.GPUs, w.Spec.Device, w.Spec.GPUCache = "all", "CUDA", true
	w.Spec.Labels = map[string]string{engine.LabelModel: "hf:o/x", engine.LabelFlags: `["--metrics"]`, engine.LabelDeviceMask: "all"}
	return w
}

// server is a running server made from a spec; changes say what is special about it.
func server(spec engine.Spec, change ...func(*engine.Server)) engine.Server {
	s := engine.Server{
		ID: "c-own", Name: spec.Of().Name(), Project: spec.Project, Pool: spec.Pool, Replica: spec.Replica,
		RunDigest: spec.RunDigest(), Image: spec.Image, ImageRef: spec.ImageRef, Port: 4242, URL: "http://127.0.0.1:4242",
		Handoff: spec.Handoff, ModelPath: spec.Model.HostFile, Labels: spec.Labels,
		State: engine.State{Status: "running", Running: true, CreatedAt: now.Add(-time.Hour), StartedAt: now.Add(-time.Hour)},
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

func otherImage(s *engine.Server)  { s.Image, s.RunDigest = "sha256:old", "sha256:other" }
func exited(s *engine.Server)      { s.State.Status, s.State.Running, s.State.ExitCode = "exited", false, 1 }
func oom(s *engine.Server)         { exited(s); s.State.OOMKilled = true }
func paused(s *engine.Server)      { s.State.Status, s.State.Running = "paused", false }
func justCreated(s *engine.Server) { created(s); s.State.CreatedAt = now.Add(-time.Second) }

func created(s *engine.Server) {
	s.State = engine.State{Status: "created", CreatedAt: now.Add(-time.Minute)}
}

func standby(s *engine.Server) { s.ID, s.Name, s.Standby = "c-next", s.Of().StandbyName(), true }

// file is the handoff that tells the truth about a server.
func file(s engine.Server, change ...func(*pool.Handoff)) pool.Handoff {
	h := pool.Handoff{
		Path: project + "/llamacpp.json", Pool: s.Pool, Replica: s.Replica, Container: s.ID, StartedAt: s.State.StartedAt,
		URL: s.URL, Engine: "ENGINE",
	}
	for _, c := range change {
		c(&h)
	}
	return h
}

func ofGone(h *pool.Handoff)      { h.Container = "c-gone" }
func ofElsewhere(h *pool.Handoff) { ofGone(h); h.Engine, h.EngineHost = "ANOTHER", "tcp://far:2376" }
func answers(h *pool.Handoff)     { h.Answers = true }
func ofBefore(h *pool.Handoff)    { ofGone(h); h.Engine = "" }

func seen(servers []engine.Server, handoffs ...pool.Handoff) pool.Seen {
	return pool.Seen{At: now, Engine: "ENGINE", CPUs: 4, Servers: servers, Handoffs: handoffs}
}

func list(s ...engine.Server) []engine.Server { return s }

// situation is what a plan is made for.
type situation struct {
	want pool.Wanted
	seen pool.Seen
}

// runs are the situations of run and up, by the name of their golden file.
func runs() map[string]situation {
	w, gpu, gpuOrCPU := wanted(), onGPU(false), onGPU(true)
	own := server(w.Spec)
	old := server(w.Spec, otherImage)
	with := func(change func(*engine.Spec)) pool.Wanted {
		w := wanted()
		change(&w.Spec)
		return w
	}
	fixed := with(func(s *engine.Spec) { s.Port = 45781 })
	portOf := func(s pool.Seen, h engine.Holder) pool.Seen { s.Port = h; return s }
	differs := func(change func(*engine.Server)) engine.Server {
		return server(w.Spec, func(s *engine.Server) { s.RunDigest = "sha256:other"; change(s) })
	}
	cpu := server(*gpuOrCPU.CPU)
	return map[string]situation{
		"nothing-there":             {w, seen(nil)},
		"same-digest":               {w, seen(list(own), file(own))},
		"same-digest-no-handoff":    {w, seen(list(own))},
		"same-digest-stale-handoff": {w, seen(list(own), file(own, ofGone))},
		"same-digest-restarted":     {w, seen(list(own), file(own, func(h *pool.Handoff) { h.StartedAt = now.Add(-2 * time.Hour) }))},
		"other-image":               {w, seen(list(old), file(old))},
		"other-image-no-handoff":    {w, seen(list(old))},
		"other-model":               {w, seen(list(differs(func(s *engine.Server) { s.ModelPath = "/m/y.gguf" })))},
		"other-flags": {w, seen(list(differs(func(s *engine.Server) {
			s.Labels = map[string]string{engine.LabelModel: "hf:o/x", engine.LabelFlags: "[]"}
		})))},
		"other-limits":                         {w, seen(list(differs(func(*engine.Server) {})))},
		"other-port":                           {fixed, seen(list(own), file(own))},
		"other-gpus":                           {gpu, seen(list(server(w.Spec)), file(own))},
		"dead":                                 {w, seen(list(server(w.Spec, exited)), file(own))},
		"dead-of-memory":                       {w, seen(list(server(w.Spec, oom)))},
		"paused":                               {w, seen(list(server(w.Spec, paused)), file(own))},
		"created-never-started":                {w, seen(list(server(w.Spec, created)))},
		"created-a-moment-ago":                 {w, seen(list(server(w.Spec, justCreated)))},
		"foreign-project":                      {w, seen(list(server(w.Spec, func(s *engine.Server) { s.Project = "/q"; s.Name = s.Of().Name() })))},
		"foreign-container-has-the-name":       {w, seen(list(engine.Server{ID: "c-x", Name: id.Name(), Foreign: true}))},
		"gpu":                                  {gpu, seen(nil)},
		"gpu-or-cpu":                           {gpuOrCPU, seen(nil)},
		"gpu-or-cpu-runs-on-cpu":               {gpuOrCPU, seen(list(cpu), file(cpu))},
		"gpu-or-cpu-other-image":               {gpuOrCPU, seen(list(old), file(old))},
		"gpu-same-digest":                      {gpu, seen(list(server(gpu.Spec)))},
		"port-taken":                           {fixed, portOf(seen(list(old), file(old)), engine.Holder{Taken: true, Who: "another program"})},
		"port-taken-by-a-container":            {fixed, portOf(seen(nil), engine.Holder{Taken: true, Who: "the container web", Server: "c-web"})},
		"port-is-its-own":                      {fixed, portOf(seen(list(old), file(old)), engine.Holder{Taken: true, Who: "the container x", Server: "c-own"})},
		"more-cpus-than-there-are":             {with(func(s *engine.Spec) { s.CPUs = 64 }), seen(list(own), file(own))},
		"handoff-stale":                        {w, seen(nil, file(own, ofGone))},
		"handoff-of-another-engine":            {w, seen(nil, file(own, ofElsewhere))},
		"handoff-of-another-engine-that-works": {w, seen(nil, file(own, ofElsewhere, answers))},
		"handoff-without-an-engine":            {w, seen(nil, file(own, ofBefore))},
		"handoff-is-something-else":            {w, seen(list(old), pool.Handoff{Path: project + "/llamacpp.json", Pool: "default", Replica: "r0", Broken: "it is no JSON"})},
		"killed-while-replacing":               {w, seen(list(server(w.Spec, otherImage, exited), server(w.Spec, otherImage, standby, exited)))},
		"killed-before-the-new-name":           {w, seen(list(server(w.Spec, standby)))},
		"replaced-by-somebody-else":            {w, seen(list(server(w.Spec, otherImage, exited), server(w.Spec, standby)))},
		"being-replaced-by-somebody-else":      {w, seen(list(old, server(w.Spec, standby, justCreated)))},
		"image-and-model-to-come": {func() pool.Wanted {
			w := wanted()
			w.Build, w.Fetch = "none that fits is in the engine", "it is not on this machine"
			return w
		}(), seen(list(own), file(own))},
	}
}

// Every situation's plan is a file that a person can read; the changes of one are to
// be read too.
func TestRunPlans(t *testing.T) {
	t.Parallel()
	for name, c := range runs() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden(t, "run-"+name, pool.Run(c.want, c.seen))
		})
	}
}

func TestOtherPlans(t *testing.T) {
	t.Parallel()
	w := wanted()
	own := server(w.Spec)
	chat := server(w.Spec, func(s *engine.Server) { s.ID, s.Pool = "c-chat", "chat"; s.Name = s.Of().Name() })
	other := server(w.Spec, func(s *engine.Server) { s.ID, s.Project = "c-q", "/q"; s.Name = s.Of().Name() })
	answer := func(s pool.Seen, h pool.Health) pool.Seen {
		s.Health = map[string]pool.Health{"c-own": h, "c-chat": h}
		return s
	}
	def := pool.Meant{Project: project, Pools: []string{"default"}}
	all := pool.Meant{Project: project, All: true}
	gpu := server(onGPU(false).Spec)
	unreachable := seen(nil, file(own), file(chat))
	unreachable.Unreachable = true
	for name, p := range map[string]pool.Plan{
		"ps-nothing":               pool.Reconcile(project, seen(nil)),
		"ps-true":                  pool.Reconcile(project, answer(seen(list(own), file(own)), pool.Ready)),
		"ps-missing":               pool.Reconcile(project, answer(seen(list(own)), pool.Ready)),
		"ps-missing-gpu":           pool.Reconcile(project, answer(seen(list(gpu)), pool.Ready)),
		"ps-of-the-one-before":     pool.Reconcile(project, answer(seen(list(own), file(own, ofGone)), pool.Ready)),
		"ps-loading":               pool.Reconcile(project, answer(seen(list(own), file(own)), pool.Loading)),
		"ps-silent":                pool.Reconcile(project, answer(seen(list(own), file(own)), pool.Silent)),
		"ps-dead":                  pool.Reconcile(project, seen(list(server(w.Spec, exited)), file(own))),
		"ps-gone":                  pool.Reconcile(project, seen(list(chat), file(own))),
		"ps-another-engine":        pool.Reconcile(project, seen(nil, file(own, ofElsewhere))),
		"ps-no-engine-id":          pool.Reconcile(project, seen(nil, file(own, ofBefore))),
		"ps-foreign-project":       pool.Reconcile(project, answer(seen(list(other)), pool.Ready)),
		"stop-nothing":             pool.Halt(def, seen(nil)),
		"stop-one":                 pool.Halt(def, seen(list(own, chat), file(own), file(chat))),
		"stop-all":                 pool.Halt(all, seen(list(own, chat, other), file(own), file(chat))),
		"stop-with-standby":        pool.Halt(def, seen(list(own, server(w.Spec, standby)), file(own))),
		"stop-gone":                pool.Halt(def, seen(nil, file(own))),
		"stop-another-engine":      pool.Halt(def, seen(nil, file(own, ofElsewhere))),
		"stop-no-engine-id":        pool.Halt(def, seen(nil, file(own, ofBefore))),
		"stop-engine-unreachable":  pool.Halt(def, unreachable),
		"stop-something-elses":     pool.Halt(all, seen(nil, pool.Handoff{Pool: "x", Replica: "r0", Broken: "no JSON"}, pool.Handoff{Pool: "y", Replica: "r0"})),
		"stop-of-a-foreign-server": pool.Halt(all, seen(list(other, engine.Server{ID: "c-x", Name: id.Name(), Foreign: true, Project: project}))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden(t, name, p)
		})
	}
}

// golden compares a plan's text with its file.
func golden(t *testing.T, name string, p pool.Plan) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	text := p.String()
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), text); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// Each golden file belongs to a situation.
func TestGoldenFilesAreAllUsed(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/run-*.txt")
	if err != nil || len(files) != len(runs()) {
		t.Errorf("%d files for %d situations: %v", len(files), len(runs()), err)
	}
	if len(files) < 25 {
		t.Errorf("%d situations", len(files))
	}
}

// The same input gives the same plan, and every operation has a cause.
func TestPlansAreTheSame(t *testing.T) {
	t.Parallel()
	var check func(t *testing.T, ops []pool.Op)
	check = func(t *testing.T, ops []pool.Op) {
		for _, op := range ops {
			if op.Why == "" || op.On == "" || op.Replica != id {
				t.Errorf("%+v lacks something", op)
			}
			check(t, op.Undo)
			for _, b := range []*pool.Branch{op.Instead, op.Clean} {
				if b != nil {
					check(t, b.Ops)
				}
			}
		}
	}
	for name, c := range runs() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := pool.Run(c.want, c.seen)
			check(t, first.Ops)
			body, err := json.Marshal(first)
			if err != nil || !strings.Contains(string(body), `"ops":[`) {
				t.Fatalf("%s, %v", body, err)
			}
			for range 25 {
				again, err := json.Marshal(pool.Run(c.want, c.seen))
				if err != nil || string(again) != string(body) {
					t.Fatalf("%v:\n%s\n%s", err, body, again)
				}
			}
			if first.Refused != nil && (len(first.Ops) > 0 || fault.ClassOf(first.Refused) == fault.Unexpected) {
				t.Errorf("refused with %d operations: %v", len(first.Ops), first.Refused)
			}
		})
	}
}

// Nothing that runs is stopped before its successor was created, and what is
// stopped comes back where that fails: of every situation.
func TestNothingHealthyIsStoppedForNothing(t *testing.T) {
	t.Parallel()
	for name, c := range runs() {
		created := false
		for _, op := range pool.Run(c.want, c.seen).Ops {
			created = created || op.Do == pool.Create
			if op.Server == nil || !op.Server.State.Running {
				continue
			}
			if op.Do == pool.Stop && (!created || len(op.Undo) == 0) {
				t.Errorf("%s: %s %s before there is another, or for good", name, op.Do, op.On)
			}
			if op.Do == pool.Remove && !op.Final {
				t.Errorf("%s: %s %s while it runs", name, op.Do, op.On)
			}
		}
	}
}
