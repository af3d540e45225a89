package llb_test

import (
	"slices"
	"testing"

	"github.com/llorch/llorch-bk/llb"
)

// What a vertex is travels beside the graph, and names for people can change.
func TestSteps(t *testing.T) {
	t.Parallel()
	s := subjects["cpu-portable-amd64"]
	g := s.graph(t)
	def, err := g.Image.Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[llb.StepKind]int{}
	var compiled []string
	for _, step := range llb.Steps(def) {
		kinds[step.Kind]++
		if step.Kind == llb.StepCompile {
			compiled = append(compiled, step.Part)
		} else if step.Part != "" {
			t.Errorf("%+v compiles nothing", step)
		}
	}
	var parts []string
	for _, part := range s.plan(t).Parts {
		parts = append(parts, part.Name)
	}
	slices.Sort(parts)
	slices.Sort(compiled)
	if !slices.Equal(parts, compiled) || kinds[llb.StepToolchain] != 3 || kinds[llb.StepUI] != 1 {
		t.Errorf("compiled %q of %q; kinds %v", compiled, parts, kinds)
	}
	if len(g.Checks) != 2 {
		t.Fatalf("%d checks", len(g.Checks))
	}
	for _, check := range g.Checks {
		def, err := check.Marshal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, step := range llb.Steps(def) {
			if step.Kind == llb.StepCheck {
				n++
			}
		}
		if n != 1 {
			t.Errorf("a check has %d steps", n)
		}
	}
}
