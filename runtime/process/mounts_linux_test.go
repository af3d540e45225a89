package process

import (
	"slices"
	"testing"
)

func TestMountsBelow(t *testing.T) {
	t.Parallel()
	const table = `proc /proc proc rw 0 0
overlay /c/builder/root/a overlay rw 0 0
tmpfs /c/builder/root/a/b tmpfs rw 0 0
tmpfs /c/builder-2/x tmpfs rw 0 0
tmpfs /c/builder tmpfs rw 0 0
tmpfs /c/builder/with\040space tmpfs rw 0 0
broken
`
	want := []string{"/c/builder/with space", "/c/builder/root/a/b", "/c/builder/root/a"}
	if got := mountsBelow(table, "/c/builder"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := mountsBelow(table, "/none"); got != nil {
		t.Errorf("got %q, want none", got)
	}
}
