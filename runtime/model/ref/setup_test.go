package ref

import (
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
)

func parse(t *testing.T, raw string) Ref {
	t.Helper()
	r, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantUsage(t *testing.T, err error) {
	t.Helper()
	if got := fault.ClassOf(err); got != fault.Usage {
		t.Errorf("class %d, want %d: %v", got, fault.Usage, err)
	}
}
