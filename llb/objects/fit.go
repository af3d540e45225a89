package objects

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

// fit gives the entries that have room together, by slot, and those that have not. The
// slots of the build come first, the smallest before the others: most compiles for the
// bytes. Then come others, the newest before the others.
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

// find is what an artifact has for a slot: its own, else the newest of the same part for
// other flags, of whose objects some may be the same. Those of another compiler never are.
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
