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
	// Step is its kind and part; empty for vertices that builds do not report about.
	llb.Step
	// Name is the step's name in the progress display.
	Name string `json:"name"`
	// Cached is true if the step did not run because its result was cached.
	Cached bool `json:"cached,omitempty"`
	// Seconds is the time that it ran.
	Seconds float64 `json:"seconds"`
	// Objects are the compiler cache's counts, for a step that compiled.
	Objects *Objects `json:"objects,omitempty"`
}

// Compiles returns the part that the step compiles, and whether it compiles one.
func (s Step) Compiles() (part string, ok bool) {
	return s.Part, s.Kind == llb.StepCompile
}

// knows records what the vertices of a definition are.
func (t *tail) knows(def *bkllb.Definition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.Copy(t.what, llb.Steps(def))
}

// step records the state of a vertex.
func (t *tail) step(v *client.Vertex) {
	if v.Completed == nil || !strings.HasPrefix(v.Name, "[") {
		return
	}
	s := t.steps[v.Digest]
	// A step from a registry's cache completes twice: as cached, and when its result is
	// pulled because another step needs it.
	s.Name, s.Cached = v.Name, s.Cached || v.Cached
	if v.Started != nil {
		s.Seconds = max(s.Seconds, v.Completed.Sub(*v.Started).Round(10*time.Millisecond).Seconds())
	}
	if s.Cached {
		s.Seconds = 0
	}
	t.steps[v.Digest] = s
}

// finished returns the steps, slowest first, and by name if equally slow.
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
