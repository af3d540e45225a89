package pool_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/pool"
)

// stock has something of every kind, and something of every kind that is in use.
func stock() pool.Stock {
	return pool.Stock{
		Builders: []pool.Builder{{Where: "llorch-builder", Kind: "container", Running: true, Bytes: 5}, {Where: "/c/builder", Kind: "process"}},
		Engine: engine.Stock{
			Images: []engine.StockImage{
				{ID: "sha256:used", Names: []string{"a:1"}, Containers: 1}, {ID: "sha256:free", Names: []string{"a:2", "b:2"}, Bytes: 7}, {ID: "sha256:nameless"},
			},
			Volumes: []engine.StockVolume{{Name: "v-used", Containers: 2}, {Name: "v-dir", Shows: "/m"}, {Name: "v-copy"}},
		},
		Caches: []pool.Cache{{Path: "/c/sources", Note: "checked-out trees", Bytes: 9}},
	}
}

func TestPrunePlans(t *testing.T) {
	t.Parallel()
	used := pool.Stock{Engine: engine.Stock{
		Images:  []engine.StockImage{{ID: "sha256:used", Containers: 1}},
		Volumes: []engine.StockVolume{{Name: "v-used", Containers: 2}},
	}}
	for name, p := range map[string]pool.Plan{
		"prune-everything":  pool.Prune(nil, stock()),
		"prune-some-kinds":  pool.Prune([]string{pool.KindCaches, pool.KindImages}, stock()),
		"prune-nothing":     pool.Prune(nil, pool.Stock{}),
		"prune-all-in-use":  pool.Prune(nil, used),
		"prune-other-kinds": pool.Prune([]string{pool.KindBuilders}, used),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden(t, name, p)
			for _, op := range p.Ops {
				if op.Leftover == nil || op.Why == "" || !op.Alone || len(op.Undo) > 0 {
					t.Errorf("%+v is no removal of its own", op)
				}
			}
		})
	}
}

func TestLeftovers(t *testing.T) {
	t.Parallel()
	var got []pool.Leftover
	for _, l := range pool.Prune(nil, stock()).Leftovers() {
		got = append(got, *l)
	}
	want := []pool.Leftover{
		{Kind: "builders", ID: "llorch-builder", Name: "llorch-builder", Bytes: 5, Why: "it is started again on demand", Note: "a container"},
		{Kind: "builders", ID: "/c/builder", Name: "/c/builder", Why: "it is started again on demand", Note: "a process, stopped"},
		{Kind: "images", ID: "sha256:free", Name: "a:2 b:2", Bytes: 7, Why: "no container uses it"},
		{Kind: "images", ID: "sha256:nameless", Name: "sha256:nameless", Why: "no container uses it"},
		{Kind: "volumes", ID: "v-dir", Name: "v-dir", Why: "no container mounts it", Note: "shows /m, which is kept"},
		{Kind: "volumes", ID: "v-copy", Name: "v-copy", Why: "no container mounts it"},
		{Kind: "caches", ID: "/c/sources", Name: "/c/sources", Bytes: 9, Why: "it can be rebuilt", Note: "checked-out trees"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// remover is a Doer that deletes, except for what has one of the ids in refuses.
type remover struct {
	refuses []string
	then    func()
	deleted []string
}

func (r *remover) Turn(pool.Op, error) {}

func (r *remover) Do(_ context.Context, op pool.Op) (engine.Server, error) {
	if slices.Contains(r.refuses, op.Leftover.ID) {
		if r.then != nil {
			r.then()
		}
		return engine.Server{}, fault.New(fault.Machine, "refused", errFailing, "")
	}
	r.deleted = append(r.deleted, op.Leftover.ID)
	return engine.Server{}, nil
}

// What cannot be deleted keeps nothing else from it, and is named at the end.
func TestPruneGoesOn(t *testing.T) {
	t.Parallel()
	r := &remover{refuses: []string{"/c/builder", "v-copy"}}
	_, err := pool.Prune(nil, stock()).Execute(t.Context(), r)
	if want := []string{"llorch-builder", "sha256:free", "sha256:nameless", "v-dir", "/c/sources"}; !slices.Equal(r.deleted, want) {
		t.Errorf("deleted %q, want %q", r.deleted, want)
	}
	if !errors.Is(err, errFailing) {
		t.Fatalf("error %v", err)
	}
	for _, want := range []string{"builder /c/builder: refused", "volume v-copy: refused"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

// An interruption ends it, with what failed before.
func TestPruneInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("Ctrl-C")
	r := &remover{refuses: []string{"/c/builder", "sha256:nameless"}}
	r.then = func() {
		if len(r.deleted) > 1 {
			cancel(cause)
		}
	}
	_, err := pool.Prune(nil, stock()).Execute(ctx, r)
	if want := []string{"llorch-builder", "sha256:free"}; !slices.Equal(r.deleted, want) {
		t.Errorf("deleted %q, want %q", r.deleted, want)
	}
	for _, want := range []string{"builder /c/builder: refused", "refused: " + errFailing.Error()} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	r = &remover{}
	if _, err := pool.Prune(nil, stock()).Execute(ctx, r); !errors.Is(err, cause) || r.deleted != nil {
		t.Errorf("after it: %v, deleted %q", err, r.deleted)
	}
}
