package llb_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/llb"
	bkllb "github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
)

const arm = "linux/arm64"

// cross is an image for arm64 on a builder of amd64, which cannot run it.
func cross(s *subject) {
	s.Platform, s.Facts.Builder = arm, "linux/amd64"
	s.caps.Runs = []string{"linux/amd64"}
}

// Steps run on the builder's platform, all of them; what the image is made of is its own.
func TestCrossStepsRunOnTheBuilder(t *testing.T) {
	t.Parallel()
	for _, s := range []subject{cpu().with(cross), cpu().with(cross, runtimeBase), cpu().with(cross, locked)} {
		for _, o := range s.ops(t) {
			if arch := o.Op.GetPlatform().GetArchitecture(); o.Op.GetExec() != nil && arch != "amd64" {
				t.Errorf("%s runs on %s", o.name(), arch)
			}
			name := o.Metadata.Description["llb.customname"]
			source := o.Op.GetSource().GetIdentifier()
			if want := map[bool]string{true: "arm64", false: "amd64"}[strings.HasPrefix(name, "[runtime base]")]; strings.HasPrefix(source, "docker-image:") && o.Op.GetPlatform().GetArchitecture() != want {
				t.Errorf("%s is of %s, want %s", name, o.Op.GetPlatform().GetArchitecture(), want)
			}
		}
		for step, o := range s.execs(t) {
			triple, told := env(o, "CROSS")
			if want := strings.HasPrefix(step, "[compile]") || step == "[probe]"; told != want || told && triple != "aarch64-linux-gnu" {
				t.Errorf("%s is told to compile for %q", step, triple)
			}
			// A lock has the files; without one, apt is asked for another architecture's.
			_, told = env(o, "APT_CONFIG")
			if want := step == "[runtime]" && s.Facts.Packages == nil; told != want {
				t.Errorf("%s: apt's own configuration: %t", step, told)
			}
		}
	}
}

// Two images of one index share what does not depend on their platform.
func TestCrossSharesWhatIsTheBuilders(t *testing.T) {
	t.Parallel()
	native, other := cpu().execs(t), cpu().with(cross).execs(t)
	for _, step := range []string{"[source]", "[npm]", "[ui]"} {
		if native[step].digest != other[step].digest {
			t.Errorf("%s is done twice", step)
		}
	}
	for _, step := range []string{"[compile] llama", "[probe]", "[runtime]", "[toolchain]"} {
		if native[step].digest == other[step].digest {
			t.Errorf("%s is the same for both", step)
		}
	}
	caches := func(o op) []string {
		var ids []string
		for _, m := range o.Op.GetExec().Mounts {
			if m.MountType == pb.MountType_CACHE && (m.Dest == "/ccache" || m.Dest == "/var/lib/apt/lists") {
				ids = append(ids, m.CacheOpt.ID)
			}
		}
		return ids
	}
	for _, step := range []string{"[compile] llama", "[runtime]"} {
		if slices.Equal(caches(native[step]), caches(other[step])) {
			t.Errorf("%s: one cache %q for both", step, caches(other[step]))
		}
	}
}

// The server is started where the builder can run it; where not, that is said.
func TestCrossChecksWhatTheBuilderCanRun(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		s      subject
		starts bool
	}{
		"not cross-compiled":        {cpu(), true},
		"a builder that cannot":     {cpu().with(cross), false},
		"a builder that does":       {cpu().with(cross, func(s *subject) { s.caps.Runs = append(s.caps.Runs, arm) }), true},
		"one that is arm64's alone": {cpu().with(func(s *subject) { s.Platform, s.Facts.Builder = arm, arm }), true},
	} {
		g := c.s.graph(t)
		starts := slices.ContainsFunc(g.Checks, func(st bkllb.State) bool {
			def, err := st.Marshal(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(ops(t, def), func(o op) bool {
				return strings.HasPrefix(o.Metadata.Description["llb.customname"], "[check] the server starts")
			})
		})
		said := slices.ContainsFunc(g.Notes, func(n string) bool { return strings.Contains(n, "not checked") && strings.Contains(n, arm) })
		if starts != c.starts || said == c.starts {
			t.Errorf("%s: started %t, said %q", name, starts, g.Notes)
		}
	}
}

// The image's packages are looked up for its architecture, the toolchain's for the builder's.
func TestCrossResolvesEachSetForItsArchitecture(t *testing.T) {
	t.Parallel()
	s := cpu().with(cross)
	states, err := llb.ResolvePackages(s.plan(t), s.caps, s.opt, "now")
	if err != nil {
		t.Fatal(err)
	}
	if len(states) != 2 {
		t.Fatalf("%d look-ups", len(states))
	}
	for i, want := range []struct {
		has, hasNot []string
		arm         bool
	}{
		{[]string{"toolchain base", "gcc-aarch64-linux-gnu", "ui base"}, []string{"libgomp1"}, false},
		{[]string{"runtime nothing libc6 ", "runtime alone base-files"}, []string{"toolchain", "ui"}, true},
	} {
		def, err := states[i].Marshal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all := ops(t, def)
		at := slices.IndexFunc(all, func(o op) bool { return o.Op.GetExec() != nil })
		sets, _ := env(all[at], "SETS")
		for _, s := range want.has {
			if !strings.Contains(sets, s) {
				t.Errorf("look-up %d lacks %q: %q", i, s, sets)
			}
		}
		for _, s := range want.hasNot {
			if strings.Contains(sets, s) {
				t.Errorf("look-up %d has %q: %q", i, s, sets)
			}
		}
		if _, arm := env(all[at], "APT_CONFIG"); arm != want.arm {
			t.Errorf("look-up %d: for another architecture %t", i, arm)
		}
		conf, _ := mount(t, all, all[at], "/llorch-apt")
		if text := string(fileIn(conf)); want.arm && !strings.Contains(text, `APT::Architecture "arm64";`) {
			t.Errorf("apt is told %q", text)
		}
	}
}

// A step is of its image's platform; that of an image that is compiled for itself goes
// without saying.
func TestCrossStepsSayTheirPlatform(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]subject{arm: cpu().with(cross), "": cpu()} {
		def, err := s.graph(t).Image.Marshal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range llb.Steps(def) {
			if step.Kind == llb.StepCompile && step.Platform != want {
				t.Errorf("%+v is not of %q", step, want)
			}
		}
	}
}

func fileIn(o op) []byte {
	for _, a := range o.Op.GetFile().GetActions() {
		if f := a.GetMkfile(); f != nil {
			return f.Data
		}
	}
	return nil
}
