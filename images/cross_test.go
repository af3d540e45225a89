package images_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
)

func TestPlanCross(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		platform, builder string
		triple            string
		packages, flags   []string
	}{
		"a builder of the image's platform": {"linux/arm64", "linux/arm64", "", []string{"g++", "gcc", "libc6-dev"}, nil},
		"a builder that is not known":       {"linux/arm64", "", "", []string{"g++", "gcc", "libc6-dev"}, nil},
		"for arm64 on amd64": {
			"linux/arm64", "linux/amd64", "aarch64-linux-gnu",
			[]string{"clang", "g++-aarch64-linux-gnu", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"},
			[]string{"-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++", "-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64"},
		},
		"for amd64 on arm64": {
			"linux/amd64", "linux/arm64", "x86_64-linux-gnu",
			[]string{"clang", "g++-x86-64-linux-gnu", "gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"},
			[]string{"-DCMAKE_C_COMPILER=x86_64-linux-gnu-gcc", "-DCMAKE_SYSTEM_PROCESSOR=x86_64"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := plan(t, func(r *images.Request) { r.Platform = c.platform }, func(f *images.Facts) { f.Builder = c.builder })
			if (p.Cross == nil) != (c.triple == "") || p.Cross != nil && *p.Cross != (images.PlanCross{Builder: c.builder, Triple: c.triple}) {
				t.Errorf("it is compiled as %+v, want %q", p.Cross, c.triple)
			}
			for _, name := range c.packages {
				if !slices.ContainsFunc(p.Packages, func(p images.Package) bool { return p.Name == name }) {
					t.Errorf("the toolchain lacks %s: %v", name, p.Packages)
				}
			}
			for _, f := range c.flags {
				if !slices.Contains(p.CMake.Flags, f) {
					t.Errorf("no %s in %q", f, p.CMake.Flags)
				}
			}
			said := slices.ContainsFunc(p.Notes, func(n string) bool { return strings.Contains(n, c.platform) })
			if told := slices.ContainsFunc(p.CMake.Flags, func(f string) bool { return strings.HasPrefix(f, "-DCMAKE_SYSTEM_") }); told != (p.Cross != nil) || said != told {
				t.Errorf("flags %q, notes %q", p.CMake.Flags, p.Notes)
			}
		})
	}
}

// What a cross compiler makes is another recipe; it does the same job.
func TestCrossIsAnotherRecipe(t *testing.T) {
	t.Parallel()
	arm := func(r *images.Request) { r.Platform = "linux/arm64" }
	native := plan(t, arm, nil)
	cross := plan(t, arm, func(f *images.Facts) { f.Builder = "linux/amd64" })
	if native.Recipe == cross.Recipe {
		t.Error("the recipes are the same")
	}
	if native.Fit != cross.Fit {
		t.Errorf("fit %s natively and %s by a cross compiler", native.Fit, cross.Fit)
	}
}

func TestWhatCannotBeCrossCompiled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		variant, builder string
		says             []string
	}{
		"CUDA":                {"cuda", "linux/amd64", []string{"linux/arm64", "linux/amd64", "cuda12"}},
		"Vulkan":              {"vulkan", "linux/amd64", []string{"linux/arm64", "linux/amd64", "vulkan"}},
		"a builder like none": {"cpu", "linux/riscv64", []string{"linux/riscv64"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := normal(t, func(r *images.Request) { r.Platform, r.Variant = "linux/arm64", c.variant })
			_, err := images.MakePlan(r, facts(func(f *images.Facts) { f.Builder = c.builder }))
			if fault.ClassOf(err) != fault.Usage {
				t.Fatalf("got %v", err)
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %s", err, s)
				}
			}
		})
	}
}

// A lock says on which platform's builder it compiles; on another one it is another image.
func TestLockCross(t *testing.T) {
	t.Parallel()
	r := normal(t, func(r *images.Request) { r.Platform = "linux/arm64" })
	f := facts(func(f *images.Facts) { f.Builder, f.Scripts, f.Source.Tree.UI = "linux/amd64", sha("5"), false })
	p, err := images.MakePlan(r, f)
	if err != nil {
		t.Fatal(err)
	}
	l, err := images.MakeLock(r, f, p, sets())
	if err != nil {
		t.Fatal(err)
	}
	if l, err = images.DecodeLock(encode(t, l)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ locked, builder string }{{"linux/amd64", "linux/amd64"}, {"", "linux/arm64"}} {
		on := l.Platforms["linux/arm64"]
		on.Builder = c.locked
		l.Platforms["linux/arm64"] = on
		asked, from, err := l.Locked("linux/arm64", nil, sha("5"))
		if err != nil {
			t.Fatal(err)
		}
		if from.Builder != c.builder {
			t.Errorf("a lock of builder %q is for %q, want %q", c.locked, from.Builder, c.builder)
		}
		from.Source.Tree = f.Source.Tree
		again, err := images.MakePlan(asked, from)
		if err != nil {
			t.Fatal(err)
		}
		if (again.Cross != nil) != (c.locked != "") {
			t.Errorf("a lock of builder %q is compiled by %+v", c.locked, again.Cross)
		}
	}
}
