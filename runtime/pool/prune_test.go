package pool_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/pool"
)

func TestPrune(t *testing.T) {
	t.Parallel()
	got := pool.Prune(pool.Stock{
		Builders: []pool.Builder{{Where: "llorch-builder", Kind: "container", Running: true, Bytes: 5}, {Where: "/c/builder", Kind: "process"}},
		Engine: engine.Stock{
			Images: []engine.StockImage{
				{ID: "sha256:used", Names: []string{"a:1"}, Containers: 1}, {ID: "sha256:free", Names: []string{"a:2", "b:2"}, Bytes: 7}, {ID: "sha256:nameless"},
			},
			Volumes: []engine.StockVolume{{Name: "v-used", Containers: 2}, {Name: "v-dir", Shows: "/m"}, {Name: "v-copy"}},
		},
		Caches: []pool.Cache{{Path: "/c/sources", Note: "checked-out trees", Bytes: 9}},
	})
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
	if none := pool.Prune(pool.Stock{}); none != nil {
		t.Errorf("of nothing: %v", none)
	}
}
