package buildkit

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/llb"
	"github.com/moby/buildkit/client"
	bkllb "github.com/moby/buildkit/client/llb"
)

// Step is one step of a finished build.
type Step struct {
	// What it is, as the graph says; empty for vertices that nobody asks about.
	llb.Step
	// Name is the step's as the progress display shows it.
	Name string `json:"name"`
	// Cached is true where the step did not run, because its result was there.
	Cached bool `json:"cached,omitempty"`
	// Seconds is how long it ran.
	Seconds float64 `json:"seconds"`
	// Objects are those of a step that compiled with the compiler cache.
	Objects *Objects `json:"objects,omitempty"`
}

// Compiles says whether the step compiles a part, and which.
func (s Step) Compiles() (part string, ok bool) {
	return s.Part, s.Kind == llb.StepCompile
}

// knows takes note of what the vertices of a definition are.
func (t *tail) knows(def *bkllb.Definition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.Copy(t.what, llb.Steps(def))
}

// step takes note of what a vertex says of itself.
func (t *tail) step(v *client.Vertex) {
	if v.Completed == nil || !strings.HasPrefix(v.Name, "[") {
		return
	}
	s := t.steps[v.Digest]
	// A step from a registry's cache is completed twice: as cached, and when its
	// result is fetched because another needs it.
	s.Name, s.Cached = v.Name, s.Cached || v.Cached
	if v.Started != nil {
		s.Seconds = max(s.Seconds, v.Completed.Sub(*v.Started).Round(10*time.Millisecond).Seconds())
	}
	if s.Cached {
		s.Seconds = 0
	}
	t.steps[v.Digest] = s
}

// finished are the steps, the slowest first, and by name where they took as long.
func (t *tail) finished() []Step {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Step
	for id, s := range t.steps {
		s.Step = t.what[id]
		if o, ok := t.objects[id]; ok && !s.Cached {
			s.Objects = &o
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(x, y Step) int {
		return cmp.Or(cmp.Compare(y.Seconds, x.Seconds), strings.Compare(x.Name, y.Name))
	})
	return out
}
