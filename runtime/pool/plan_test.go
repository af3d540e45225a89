package pool_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/pool"
)

var update = flag.Bool("update", false, "write the golden files anew")

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
