package objects

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

// fit splits entries into those that fit into room bytes, sorted by slot, and the rest. The
// build's own slots come first, smallest first, because that saves the most compiles per
// byte. Then come other slots, newest first.
func fit(entries []entry, slots []string, room int64) (kept, left []entry) {
	mine := func(e entry) int {
		if slices.Contains(slots, e.slot) {
			return 0
		}
		return 1
	}
	ordered := slices.SortedStableFunc(slices.Values(entries), func(x, y entry) int {
		if c := cmp.Compare(mine(x), mine(y)); c != 0 {
			return c
		}
		if mine(x) == 0 {
			return cmp.Compare(x.size, y.size)
		}
		return y.created.Compare(x.created)
	})
	for _, e := range ordered {
		if e.size > room {
			left = append(left, e)
			continue
		}
		room -= e.size
		kept = append(kept, e)
	}
	slices.SortFunc(kept, func(x, y entry) int { return strings.Compare(x.slot, y.slot) })
	return kept, left
}

// find selects an artifact's entry for a slot: the slot itself, else the newest slot of the
// same part with other flags, some of whose objects may be the same. Objects of another
// compiler never match.
func find(entries []entry, slot, toolchain string) (entry, bool) {
	var best entry
	found := false
	for _, e := range entries {
		switch {
		case e.toolchain != toolchain || path.Dir(e.slot) != path.Dir(slot):
		case e.slot == slot:
			return e, true
		case !found || e.created.After(best.created):
			best, found = e, true
		}
	}
	return best, found
}
