package app

import (
	"testing"

	"github.com/llorch/llorch-bk/llb/buildkit"
	"github.com/llorch/llorch-bk/llb/objects"
)

func TestCompilerCache(t *testing.T) {
	t.Parallel()
	step := func(compiles, cached, carried int) buildkit.Step {
		return buildkit.Step{Objects: &buildkit.Objects{Compiles: compiles, Cached: cached, Carried: carried}}
	}
	from := &objects.Report{From: "r.io/cache:a-objects", Pulled: 12_300_000}
	for name, c := range map[string]struct {
		built Built
		want  string
	}{
		"nothing compiled":    {Built{Steps: []buildkit.Step{{Cached: true}}, Objects: from}, ""},
		"all of it compiled":  {Built{Steps: []buildkit.Step{step(3, 0, 0)}}, "0 of 3 compiles from the compiler cache"},
		"from this builder":   {Built{Steps: []buildkit.Step{step(3, 2, 0)}, Objects: &objects.Report{To: "r.io/cache:a-objects"}}, "2 of 3 compiles from the compiler cache"},
		"from the registry":   {Built{Steps: []buildkit.Step{step(3, 2, 2), {}, step(5, 5, 1)}, Objects: from}, "7 of 8 compiles from the compiler cache, 3 of them from r.io/cache:a-objects (12.3MB)"},
		"of nothing in there": {Built{Steps: []buildkit.Step{step(3, 0, 0)}, Objects: from}, "0 of 3 compiles from the compiler cache"},
	} {
		if got := c.built.CompilerCache(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
