package store

import (
	"path/filepath"
	"slices"
	"time"
)

// Candidate is a model that a collection removes.
type Candidate struct {
	Stored
	// Frees is how many bytes are free again once it and the candidates before it are
	// gone.
	Frees int64
}

// Collect returns which models have to go for the store to take at most keep bytes: the
// least recently used first, and never one whose path is busy. It also returns the
// downloads that were given up. Each content counts once, however many snapshots show it.
// What other tools put there does not count, and does not go.
func (s *Store) Collect(keep int64, busy func(path string) bool, now time.Time) (models []Candidate, partials []Partial, err error) {
	all, err := s.List()
	if err != nil {
		return nil, nil, err
	}
	left, err := s.Partials()
	if err != nil {
		return nil, nil, err
	}
	var sum int64
	for _, p := range left {
		if p.givenUp(now) {
			partials = append(partials, p)
		} else {
			sum += p.Size
		}
	}
	t := newTally(all)
	sum += t.sum
	var chosen []Stored
	for _, m := range slices.Backward(all) {
		if sum <= keep {
			break
		}
		if m.Foreign || busy(m.Path) {
			continue
		}
		chosen = append(chosen, m)
		sum -= t.drop(m)
	}
	return t.candidates(chosen), partials, nil
}

// UsedSince reports whether a model was used after it was listed.
func (s *Store) UsedSince(m Stored) bool {
	now := Stored{}
	uses := m.folder.uses()
	for _, name := range m.names {
		now.addUse(uses[useOf(m.commit, name)])
	}
	return now.Used.After(m.Used)
}

// tally counts which models show a content.
type tally struct {
	// shown is how many models show a content, and size its bytes, by its real path.
	shown map[string]int
	size  map[string]int64
	// sum is what the models of ours take.
	sum int64
}

func newTally(all []Stored) *tally {
	t := &tally{map[string]int{}, map[string]int64{}, 0}
	ours := map[string]bool{}
	for _, m := range all {
		for _, c := range m.contents {
			t.shown[c.path]++
			t.size[c.path] = c.size
			if !m.Foreign && !ours[c.path] {
				ours[c.path] = true
				t.sum += c.size
			}
		}
	}
	return t
}

// drop takes a model out of the count, and returns how many bytes nobody shows any more.
func (t *tally) drop(m Stored) (freed int64) {
	for _, c := range m.contents {
		if t.shown[c.path]--; t.shown[c.path] == 0 {
			freed += t.size[c.path]
		}
	}
	return freed
}

// candidates leaves out the models whose removal frees nothing, because a model that stays
// has the same content.
func (t *tally) candidates(chosen []Stored) []Candidate {
	chosen = slices.DeleteFunc(chosen, func(m Stored) bool {
		useless := !slices.ContainsFunc(m.contents, func(c contentAt) bool { return t.shown[c.path] == 0 })
		if useless {
			for _, c := range m.contents {
				t.shown[c.path]++
			}
		}
		return useless
	})
	for _, m := range chosen {
		for _, c := range m.contents {
			t.shown[c.path]++
		}
	}
	var out []Candidate
	for _, m := range chosen {
		c := Candidate{Stored: m}
		for _, at := range m.contents {
			if t.shown[at.path]--; t.shown[at.path] == 0 && !at.linked {
				c.Frees += at.size
			}
		}
		out = append(out, c)
	}
	return out
}

// contentAt is a content of a model, by its real path.
type contentAt struct {
	path string
	size int64
	// linked says that the content has another name outside the folder: its space stays
	// taken.
	linked bool
}

// contentOfFile describes what is at a path of the store.
func contentOfFile(path string, size int64) contentAt {
	c := contentAt{path: path, size: size}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		c.path = real
		c.linked = size > 0 && spaceOf(real) == 0
	}
	return c
}
