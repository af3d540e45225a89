package images_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
)

const commit = "de3ff81aaaabbbbccccddddeeeeffff000011112"

func sha(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

// facts are all that is to be looked up for request(nil).
func facts(change func(*images.Facts)) images.Facts {
	base := images.BaseFacts{Ref: "docker.io/library/debian:trixie-slim", Digest: sha("b"), Env: []string{"PATH=/usr/bin:/bin"}}
	f := images.Facts{
		Source: images.SourceFacts{
			Kind: images.SourceGit, Commit: commit, Tag: "v0.5.0", Time: time.Date(2026, 10, 1, 12, 0, 0, 0, time.FixedZone("", 7200)),
			Tree: &images.Tree{Version: "0.5.0", ServerDir: "tools/server", Licences: []string{"LICENSE"}, Layout: images.LayoutParts, UI: true},
		},
		Build:   base,
		Runtime: base,
	}
	if change != nil {
		change(&f)
	}
	return f
}

func cudaFacts(f *images.Facts) {
	f.Accelerator = images.BaseFacts{Ref: nvidia128, Digest: sha("d"), Env: []string{"PATH=/usr/local/cuda/bin:/usr/bin:/bin"}}
}

func plan(t *testing.T, r func(*images.Request), f func(*images.Facts)) images.Plan {
	t.Helper()
	p, err := images.MakePlan(normal(t, r), facts(f))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// flagsOf are all definitions of a plan, whichever part they are for.
func flagsOf(p images.Plan) []string {
	all := slices.Clone(p.CMake.Flags)
	for _, part := range p.Parts {
		all = append(all, part.Flags...)
	}
	return all
}

func TestPlanPending(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		r    func(*images.Request)
		f    func(*images.Facts)
		want []string
	}{
		"all facts":         {nil, nil, nil},
		"no facts":          {nil, func(f *images.Facts) { *f = images.Facts{} }, []string{"source.commit", "source.tree", "build_base.digest"}},
		"no facts, native":  {func(r *images.Request) { r.CPU = images.CPUNative }, func(f *images.Facts) { *f = images.Facts{} }, []string{"source.commit", "source.tree", "build_base.digest", "cpu.level"}},
		"tree not read":     {nil, func(f *images.Facts) { f.Source.Tree = nil }, []string{"source.tree"}},
		"runtime not found": {runtimeBase, func(f *images.Facts) { f.Runtime = images.BaseFacts{} }, []string{"runtime_base.digest"}},
		"machine not asked": {func(r *images.Request) { r.CPU = images.CPUNative }, nil, []string{"cpu.level"}},
		"level is no fact":  {func(r *images.Request) { r.CPU = "x86-64-v3" }, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := plan(t, c.r, c.f)
			if diff := cmp.Diff(c.want, p.Pending); diff != "" {
				t.Error(diff)
			}
			if (p.Recipe == "") != (len(c.want) > 0) {
				t.Errorf("recipe %q with %v pending", p.Recipe, p.Pending)
			}
		})
	}
}

func TestPlanCPU(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		platform, cpu, machine string
		level                  string
		has, hasNot            []string
	}{
		"portable": {
			"linux/amd64", "portable", "x86-64-v4", "portable",
			[]string{"-DGGML_CPU_ALL_VARIANTS=ON", "-DGGML_BACKEND_DL=ON", "-DGGML_NATIVE=OFF"},
			[]string{"-DGGML_AVX2"},
		},
		"native is the machine's level": {
			"linux/amd64", "native", "x86-64-v3", "x86-64-v3",
			[]string{"-DGGML_AVX2=ON", "-DGGML_AVX512=OFF", "-DGGML_NATIVE=OFF"},
			[]string{"-DGGML_CPU_ALL_VARIANTS"},
		},
		"a level, whatever the machine": {
			"linux/amd64", "x86-64-v4", "x86-64-v2", "x86-64-v4",
			[]string{"-DGGML_AVX512=ON", "-DGGML_BMI2=ON"},
			[]string{"-DGGML_CPU_ALL_VARIANTS"},
		},
		"the least level has everything off": {
			"linux/amd64", "x86-64-v1", "", "x86-64-v1",
			[]string{"-DGGML_SSE42=OFF", "-DGGML_AVX=OFF", "-DGGML_AVX2=OFF", "-DGGML_BMI2=OFF", "-DGGML_F16C=OFF", "-DGGML_FMA=OFF", "-DGGML_AVX512=OFF"},
			nil,
		},
		"arm portable": {"linux/arm64", "portable", "", "portable", []string{"-DGGML_CPU_ALL_VARIANTS=ON"}, []string{"-DGGML_CPU_ARM_ARCH"}},
		"arm native":   {"linux/arm64", "native", "armv8.2-a", "armv8.2-a", []string{"-DGGML_CPU_ARM_ARCH=armv8.2-a+dotprod+fp16"}, []string{"-DGGML_AVX"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := plan(t, func(r *images.Request) { r.Platform, r.CPU = c.platform, c.cpu }, func(f *images.Facts) { f.CPULevel = c.machine })
			if p.CPU.Level != c.level || p.CPU.RunsOn == "" {
				t.Errorf("got %+v, want level %s", p.CPU, c.level)
			}
			for _, f := range c.has {
				if !slices.Contains(flagsOf(p), f) {
					t.Errorf("no %s in %q", f, flagsOf(p))
				}
			}
			for _, prefix := range c.hasNot {
				if slices.ContainsFunc(flagsOf(p), func(f string) bool { return strings.HasPrefix(f, prefix) }) {
					t.Errorf("%s in %q", prefix, flagsOf(p))
				}
			}
		})
	}

	// A fact that contradicts the request.
	_, err := images.MakePlan(normal(t, func(r *images.Request) { r.CPU = images.CPUNative }), facts(func(f *images.Facts) { f.CPULevel = "armv8-a" }))
	if fault.ClassOf(err) != fault.Usage {
		t.Errorf("an Arm machine's level for amd64: %v", err)
	}
}

func TestPlanCUDAArchs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		give []string
		want string
	}{
		"machine code for each, PTX of the newest": {[]string{"8.9", "86"}, "86-real;89"},
		"one":                  {[]string{"90"}, "90"},
		"the newest by number": {[]string{"100", "90"}, "90-real;100"},
		"PTX that is portable": {[]string{"120", "89"}, "89;120-real"},
		"none named means all": {nil, "61-real;70-real;75-real;80-real;86-real;89-real;90-real;100;120-real"},
		"all":                  {[]string{"all"}, "61-real;70-real;75-real;80-real;86-real;89-real;90-real;100;120-real"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := plan(t, func(r *images.Request) { cuda(r); r.CUDAArch = c.give }, cudaFacts)
			if got := strings.Join(p.CUDA.Archs, ";"); got != c.want || !slices.Contains(flagsOf(p), "-DCMAKE_CUDA_ARCHITECTURES="+c.want) {
				t.Errorf("got %s and %q, want %s", got, flagsOf(p), c.want)
			}
		})
	}
}

func TestPlanUsersFlagsWin(t *testing.T) {
	t.Parallel()
	p := plan(t, func(r *images.Request) { r.CMakeFlags = []string{"-DCMAKE_BUILD_TYPE=Debug", "-DGGML_LTO=ON"} }, nil)
	if !slices.IsSorted(p.CMake.Flags) {
		t.Errorf("not sorted: %q", p.CMake.Flags)
	}
	if !slices.Contains(flagsOf(p), "-DCMAKE_BUILD_TYPE=Debug") || slices.Contains(flagsOf(p), "-DCMAKE_BUILD_TYPE=Release") || !slices.Contains(flagsOf(p), "-DGGML_LTO=ON") {
		t.Errorf("got %q", flagsOf(p))
	}
}

// Clang compiles what it is the better one for, unless the user has a say.
func TestPlanCompilers(t *testing.T) {
	t.Parallel()
	who := func(p images.Plan, source string) string {
		for _, r := range p.CMake.Rules {
			// A star of a rule stands for slashes too.
			if strings.HasPrefix(source, strings.TrimSuffix(r.Sources, "*")) {
				return strings.TrimSpace(r.Compiler + " " + r.Flags)
			}
		}
		return ""
	}
	const (
		kernels, attention = "ggml/src/ggml-cpu/arch/x86/repack.cpp", "ggml/src/ggml-cpu/ops.cpp"
		ops, models        = "ggml/src/ggml-cpu/unary-ops.cpp", "src/models/llama.cpp"
	)
	// What a server does beside matrix products is llama.cpp's own compiler's.
	serving := []string{"tools/server/server.cpp", "common/chat.cpp", "src/llama-vocab.cpp", "src/unicode.cpp", "vendor/cpp-httplib/httplib.cpp"}
	for name, c := range map[string]struct {
		platform, flag       string
		kernels, ops, models string
	}{
		"amd64":            {"linux/amd64", "-DGGML_LTO=ON", "", "clang -O2", "clang -O1"},
		"arm64":            {"linux/arm64", "-DGGML_LTO=ON", "", "", "clang -O1"},
		"another compiler": {"linux/amd64", "-DCMAKE_CXX_COMPILER=g++-13", "", "", ""},
		"other flags":      {"linux/amd64", "-DCMAKE_C_FLAGS=-g", "", "", ""},
		"another type":     {"linux/amd64", "-DCMAKE_BUILD_TYPE=Debug", "", "", ""},
	} {
		p := plan(t, func(r *images.Request) { r.Platform, r.CMakeFlags = c.platform, []string{c.flag} }, nil)
		wants := map[string]string{kernels: c.kernels, attention: c.kernels, ops: c.ops, models: c.models}
		for _, source := range serving {
			wants[source] = ""
		}
		for source, want := range wants {
			if got := who(p, source); got != want {
				t.Errorf("%s: %s is compiled by %q, want %q", name, source, got, want)
			}
		}
	}
}

// Half of the CPU backend is compiled apart where that is much: one half has not
// what the other compiles, and together they have all of it.
func TestPlanSplitsTheCPUBackend(t *testing.T) {
	t.Parallel()
	find := func(p images.Plan, name string) *images.Part {
		for i := range p.Parts {
			if p.Parts[i].Name == name {
				return &p.Parts[i]
			}
		}
		return nil
	}
	p := plan(t, func(r *images.Request) { r.CPU = images.CPUPortable }, nil)
	ops, rest, link := find(p, "ggml-cpu-ops"), find(p, "ggml-cpu-kernels"), find(p, "ggml-cpu")
	if ops == nil || rest == nil || link == nil || !slices.Equal(link.Needs, []string{ops.Name, rest.Name}) || len(ops.Objects) == 0 {
		t.Fatalf("ops %+v, rest %+v, link %+v", ops, rest, link)
	}
	if !slices.Equal(ops.Flags, rest.Flags) || !slices.Equal(ops.Flags, link.Flags) {
		t.Errorf("one backend, many configurations: %q, %q, %q", ops.Flags, rest.Flags, link.Flags)
	}
	for _, o := range ops.Objects {
		if source := "ggml/src/" + o; !slices.Contains(ops.Files, source) || !slices.Contains(rest.Files, "!"+source) || !slices.Contains(rest.Objects, "!"+o) {
			t.Errorf("%s is compiled in both halves or in none", source)
		}
	}
	for _, p := range []*images.Part{ops, link} {
		if slices.Contains(p.Files, "ggml/src/ggml-cpu") {
			t.Errorf("%s runs again when anything of the backend changes", p.Name)
		}
	}
	if p := plan(t, func(r *images.Request) { r.CPU = "x86-64-v3" }, nil); find(p, "ggml-cpu-ops") != nil {
		t.Error("one level alone is taken apart")
	}
}

func TestPlanUI(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		request func(*images.Request)
		facts   func(*images.Facts)
		why     string
	}{
		"by default":           {nil, nil, ""},
		"not wanted":           {func(r *images.Request) { r.NoUI = true }, nil, "`no-ui`"},
		"a tree without":       {nil, func(f *images.Facts) { f.Source.Tree = &images.Tree{ServerDir: "tools/server"} }, "the source has no web UI"},
		"a tree not known yet": {nil, func(f *images.Facts) { f.Source.Tree = nil }, ""},
	} {
		p := plan(t, c.request, c.facts)
		if got := p.UI != nil; got != (name == "by default") || !strings.Contains(p.UIWhy, c.why) || c.why == "" && p.UIWhy != "" {
			t.Errorf("%s: UI %v, because %q", name, got, p.UIWhy)
		}
	}
	inside := func(f *images.Facts) { f.Source.Tree = &images.Tree{ServerDir: "tools/server", UIInside: true} }
	if p := plan(t, nil, inside); p.UI != nil || p.UIWhy != "" || p.Image.Labels[images.LabelUI] != images.UIInside || len(p.Notes) > 0 {
		t.Errorf("a web UI among the sources: %v, %q, label %q, notes %q", p.UI, p.UIWhy, p.Image.Labels[images.LabelUI], p.Notes)
	}
	if p := plan(t, func(r *images.Request) { r.NoUI = true }, inside); len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "`no-ui` has no effect") {
		t.Errorf("a web UI that cannot be left out: %q", p.Notes)
	}
	with, without := plan(t, nil, nil), plan(t, func(r *images.Request) { r.NoUI = true }, nil)
	if with.Recipe == without.Recipe || with.Fit == without.Fit {
		t.Error("with and without a web UI are one image")
	}
}

func TestPlanOldTreesKeepTheServerAmongTheExamples(t *testing.T) {
	t.Parallel()
	for dir, want := range map[string]string{"tools/server": "-DLLAMA_BUILD_EXAMPLES=OFF", "examples/server": "-DLLAMA_BUILD_EXAMPLES=ON"} {
		p := plan(t, nil, func(f *images.Facts) { f.Source.Tree = &images.Tree{ServerDir: dir} })
		if !slices.Contains(flagsOf(p), want) {
			t.Errorf("%s: no %s in %q", dir, want, flagsOf(p))
		}
	}
}

func runtimeBase(r *images.Request) { r.RuntimeBase = "me/run" }

func TestBaseRefs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change             func(*images.Request)
		base, runtime, gpu string
	}{
		"cpu":                     {nil, "docker.io/library/debian:trixie-slim", "", ""},
		"cpu, own base":           {func(r *images.Request) { r.Base = "me/x" }, "docker.io/me/x:latest", "docker.io/me/x:latest", ""},
		"cpu, own base to run on": {func(r *images.Request) { r.RuntimeBase = "me/x" }, "docker.io/library/debian:trixie-slim", "docker.io/me/x:latest", ""},
		"cpu, two own bases":      {func(r *images.Request) { r.Base, r.RuntimeBase = "me/x", "me/y" }, "docker.io/me/x:latest", "docker.io/me/y:latest", ""},
		"cuda":                    {cuda, "docker.io/library/debian:trixie-slim", "", nvidia128},
		"cuda, own base":          {func(r *images.Request) { cuda(r); r.Base = "me/x" }, "docker.io/me/x:latest", "docker.io/me/x:latest", nvidia128},
		"cuda, own base for the GPU": {
			func(r *images.Request) { cuda(r); r.AcceleratorBase = "mirror.example/cuda:12.8" },
			"docker.io/library/debian:trixie-slim", "", "mirror.example/cuda:12.8",
		},
		"vulkan has one base":           {func(r *images.Request) { r.Variant = "vulkan" }, "docker.io/library/debian:trixie-slim", "", ""},
		"vulkan, own base":              {func(r *images.Request) { r.Variant, r.Base = "vulkan", "me/x" }, "docker.io/me/x:latest", "docker.io/me/x:latest", ""},
		"Debian's CUDA has that of all": {func(r *images.Request) { r.Variant = "cuda-debian" }, "docker.io/library/debian:trixie-slim", "", ""},
	} {
		r := normal(t, c.change)
		choice, err := images.Choose(r, images.Facts{})
		if err != nil {
			t.Fatal(err)
		}
		build, runtime := images.BaseRefs(r, choice.Variant)
		if gpu := images.AcceleratorBase(r, choice.Variant); build != c.base || runtime != c.runtime || gpu != c.gpu {
			t.Errorf("%s: %s, %s, %s", name, build, runtime, gpu)
		}
	}
}

func TestPlanDefaultTag(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		r    func(*images.Request)
		f    func(*images.Facts)
		want []string
	}{
		"a release":     {nil, nil, []string{"docker.io/library/llorch-bk:0.5.0-cpu-portable"}},
		"a build tag":   {nil, func(f *images.Facts) { f.Source.Tag = "b5000" }, []string{"docker.io/library/llorch-bk:b5000-cpu-portable"}},
		"a commit":      {nil, func(f *images.Facts) { f.Source.Tag = "" }, []string{"docker.io/library/llorch-bk:0.5.0-de3ff81-cpu-portable"}},
		"a dirty tree":  {nil, func(f *images.Facts) { f.Source.Dirty = true }, []string{"docker.io/library/llorch-bk:0.5.0-de3ff81-dirty-cpu-portable"}},
		"a level":       {func(r *images.Request) { r.CPU = "x86-64-v3" }, nil, []string{"docker.io/library/llorch-bk:0.5.0-cpu-x86-64-v3"}},
		"a strange tag": {nil, func(f *images.Facts) { f.Source.Tag = "feature/ä" }, []string{"docker.io/library/llorch-bk:feature---cpu-portable"}},
		"too long":      {nil, func(f *images.Facts) { f.Source.Tag = strings.Repeat("x", 200) }, []string{"docker.io/library/llorch-bk:de3ff81"}},
		"named":         {func(r *images.Request) { r.Tags = []string{"me"} }, nil, []string{"docker.io/library/me:latest"}},
		"no commit yet": {nil, func(f *images.Facts) { *f = images.Facts{} }, nil},
		"no level yet":  {func(r *images.Request) { r.CPU = images.CPUNative }, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, plan(t, c.r, c.f).Image.Tags); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlanKeepsAnotherPlansNumbersOut(t *testing.T) {
	t.Parallel()
	before := slices.Clone(images.Catalogue[1].Accelerator.CUDA.Archs)
	a := plan(t, cuda, cudaFacts)
	b := plan(t, func(r *images.Request) { cuda(r); r.CUDAArch = []string{"86"} }, cudaFacts)
	if diff := cmp.Diff(before, images.Catalogue[1].Accelerator.CUDA.Archs); diff != "" {
		t.Errorf("a plan changed the catalogue:\n%s", diff)
	}
	a.Image.Env[0], a.Packages[0].Name = "changed", "changed"
	if b.Image.Env[0] == "changed" || images.Catalogue[1].Packages[0] == "changed" {
		t.Error("plans share memory")
	}
}
