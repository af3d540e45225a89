package replica_test

import (
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
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

func TestIDs(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 63)
	for _, c := range []struct {
		id            string
		pool, replica bool
	}{
		{"default", true, true},
		{"r0", true, true},
		{"a.b_c", true, true},
		{"a-b", true, false},
		{long, true, true},
		{long + "a", false, false},
		{"", false, false},
		{"-a", false, false},
		{"..", false, false},
		{"A", false, false},
		{"a/b", false, false},
		{"a\n", false, false},
		{"é", false, false},
	} {
		for kind, v := range map[string]struct {
			err  error
			want bool
		}{
			"pool":    {replica.ValidPool(c.id), c.pool},
			"replica": {replica.ValidReplica(c.id), c.replica},
		} {
			if (v.err == nil) != v.want {
				t.Errorf("%s %q: %v, want valid %v", kind, c.id, v.err, v.want)
			}
			if v.err != nil && fault.ClassOf(v.err) != fault.Usage {
				t.Errorf("%s %q: class %v", kind, c.id, fault.ClassOf(v.err))
			}
		}
	}
}
