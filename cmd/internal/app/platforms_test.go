package app

import (
	"slices"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/buildkit"
)

// An image of another platform is refused before anything is done for its sake, and one
// that does not say what it is for is not.
func TestRunRefusesAnotherPlatform(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		platform string
		refused  bool
	}{
		"the engine's own":        {"linux/amd64", false},
		"another":                 {"linux/arm64", true},
		"one that nobody told of": {"", false},
	} {
		f := startEngine(t)
		f.platform = c.platform
		f.addImage("sha256:one", "llorch-bk:one", monday, map[string]string{images.LabelVariant: "cpu"})
		eng := f.connect(t)
		img, err := eng.choose(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		err = eng.runsPlatform(t.Context(), img.Platform, "the image "+img.Ref)
		if (err != nil) != c.refused {
			t.Errorf("%s: %v", name, err)
		}
		if c.refused && (fault.ClassOf(err) != fault.Machine || !strings.Contains(err.Error(), "the image llorch-bk:one is for linux/arm64, and the engine runs linux/amd64")) {
			t.Errorf("%s: %s", name, fault.Report(err))
		}
		// Its BuildKit is asked, and nothing else.
		if changed := slices.DeleteFunc(f.done(), func(s string) bool { return s == "POST /grpc" }); len(changed) > 0 {
			t.Errorf("%s: it asked for %q", name, changed)
		}
	}
}

// A bare run is of the newest image that was built for the engine's platform.
func TestChooseTheEnginesOwnPlatform(t *testing.T) {
	t.Parallel()
	f := startEngine(t)
	ours := map[string]string{images.LabelVariant: "cpu"}
	f.platform = "linux/arm64"
	f.addImage("sha256:foreign", "llorch-bk:foreign", tuesday, ours)
	eng := f.connect(t)
	if img, err := eng.choose(t.Context(), ""); err != nil || img.ID != "sha256:foreign" {
		t.Errorf("the only one: %+v, %v", img, err)
	}
	f.platform = "linux/amd64"
	f.addImage("sha256:own", "llorch-bk:own", monday, ours)
	if img, err := eng.choose(t.Context(), ""); err != nil || img.ID != "sha256:own" {
		t.Errorf("beside one of its own: %+v, %v", img, err)
	}
}

// What a dry run plans, the run does: it is refused where the run is.
func TestDryRunRefusesAnotherPlatform(t *testing.T) {
	t.Parallel()
	f := startEngine(t)
	f.platform = "linux/arm64"
	f.addImage("sha256:one", "llorch-bk:one", monday, map[string]string{images.LabelVariant: "cpu"})
	opt := options(t.TempDir())
	opt.Image, opt.Model = "llorch-bk:one", tinyFile(t)
	_, planned := f.app(t).PlanRun(t.Context(), opt)
	_, run := f.app(t).Run(t.Context(), opt)
	if fault.ClassOf(planned) != fault.Machine || run == nil || planned.Error() != run.Error() {
		t.Errorf("planned: %v\nrun: %v", planned, run)
	}
}

func TestEachPlatformIsAskedFor(t *testing.T) {
	t.Parallel()
	opt := BuildOptions{Request: images.Request{Platform: "linux/amd64", Variant: "cpu"}, Jobs: 3}
	one := opt.each()
	if len(one) != 1 || one[0].Request.Platform != "linux/amd64" {
		t.Errorf("%+v", one)
	}
	opt.Platforms = []string{"linux/amd64", "linux/arm64"}
	var got []string
	for _, o := range opt.each() {
		if len(o.Platforms) > 0 || o.Jobs != 3 || o.Request.Variant != "cpu" {
			t.Errorf("%+v", o)
		}
		got = append(got, o.Request.Platform)
	}
	if !slices.Equal(got, opt.Platforms) {
		t.Errorf("%q, want %q", got, opt.Platforms)
	}
}

// A tree that does not build in parts is compiled whole on every platform.
func TestAWholeTreeIsWholeOnEveryPlatform(t *testing.T) {
	t.Parallel()
	tree := &images.Tree{ServerDir: "tools/server", Layout: images.LayoutParts}
	facts := buildkit.Facts{Facts: images.Facts{Source: images.SourceFacts{Kind: images.SourceGit, Commit: strings.Repeat("1", 40), Tree: tree}, Builder: "linux/amd64", Build: images.BaseFacts{Ref: "debian", Digest: "sha256:" + strings.Repeat("2", 64)}}}
	var j job
	for _, p := range []string{"linux/amd64", "linux/arm64"} {
		j.all = append(j.all, platformBuild{BuildOptions: BuildOptions{Request: images.Request{Source: images.DefaultRepository, Variant: "cpu", CPU: images.CPUPortable, Platform: p}}})
		j.facts = append(j.facts, facts)
	}
	j.whole("it does not build in steps")
	first, others, err := j.plan()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append([]images.Plan{first}, others...) {
		if p.Source.Layout != images.LayoutWhole || len(p.Parts) != 1 {
			t.Errorf("%s: %s in %d parts", p.Platform, p.Source.Layout, len(p.Parts))
		}
	}
	if tree.Layout != images.LayoutParts {
		t.Error("the tree that was read is another now")
	}
	if others[0].Cross == nil || first.Cross != nil {
		t.Errorf("cross-compiled: %+v and %+v", first.Cross, others[0].Cross)
	}
}
