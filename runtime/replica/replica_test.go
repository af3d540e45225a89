package replica_test

import (
	"testing"

	"github.com/llorch/llorch-bk/runtime/replica"
)

func TestNamesDoNotClash(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, p := range []string{"/a", "/b"} {
		for _, id := range [][2]string{{"x", "r0"}, {"x-r0", "r0"}, {"x", "r1"}} {
			names[replica.ID{Project: p, Pool: id[0], Replica: id[1]}.Name()] = true
		}
	}
	if len(names) != 6 {
		t.Errorf("%v", names)
	}
}
