package llb_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/llb"
	"github.com/moby/buildkit/solver/pb"
)

// lent are the sockets that a step is lent.
func lent(o op) (ids []string, optional bool) {
	optional = true
	for _, m := range o.Op.GetExec().Mounts {
		if m.MountType == pb.MountType_SSH {
			ids = append(ids, m.SSHOpt.ID)
			optional = optional && m.SSHOpt.Optional
		}
	}
	return ids, optional
}

// Whatever a build has to carry, and if it has nothing, a compile step is the same. One
// that is locked takes nothing from an earlier build.
func TestCompilesAreLentASocket(t *testing.T) {
	t.Parallel()
	for name, s := range subjects {
		slots, err := llb.Slots(s.plan(t))
		if err != nil {
			t.Fatal(err)
		}
		var named []string
		for step, o := range s.execs(t) {
			ids, optional := lent(o)
			var want []string
			if strings.HasPrefix(step, "[compile]") && !strings.Contains(name, "locked") {
				want = []string{llb.ObjectsSocket}
				for _, e := range o.Op.GetExec().Meta.Env {
					if slot, ok := strings.CutPrefix(e, "SLOT="); ok {
						named = append(named, slot)
					}
				}
			}
			if !slices.Equal(ids, want) || !optional {
				t.Errorf("%s: %s is lent %q, want %q; optional: %v", name, step, ids, want, optional)
			}
		}
		slices.Sort(named)
		slices.Sort(slots)
		if diff := cmp.Diff(named, slots); diff != "" {
			t.Errorf("%s: slots of the steps and of the plan (-steps +plan):\n%s", name, diff)
		}
	}
}

// A slot outlives commits, and is another one for other flags, bases and machines.
func TestSlots(t *testing.T) {
	t.Parallel()
	slots := func(s subject) []string {
		all, err := llb.Slots(s.plan(t))
		if err != nil || len(all) == 0 {
			t.Fatal(all, err)
		}
		return all
	}
	whole := cpu()
	another := whole.with(func(s *subject) {
		s.Facts.Source.Commit, s.Facts.Source.Tag = strings.Repeat("1", 40), ""
	})
	if diff := cmp.Diff(slots(whole), slots(another)); diff != "" {
		t.Errorf("another commit has other slots:\n%s", diff)
	}
	for name, c := range map[string]struct {
		change change
		same   int
	}{
		"a flag":           {func(s *subject) { s.CMakeFlags = []string{"-DGGML_LTO=ON"} }, 0},
		"the architecture": {func(s *subject) { s.Platform = "linux/arm64" }, 0},
		"another base":     {func(s *subject) { s.Facts.Build.Ref = "docker.io/library/debian:forky-slim" }, 0},
		"CUDA":             {cuda, len(slots(whole))},
	} {
		before, n := slots(whole), 0
		for _, slot := range slots(whole.with(c.change)) {
			if slices.Contains(before, slot) {
				n++
			}
		}
		if n != c.same {
			t.Errorf("%s: %d slots are the same, want %d", name, n, c.same)
		}
	}
}
