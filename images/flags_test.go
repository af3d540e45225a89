package images_test

import (
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
)

// A definition that would make the plan or the image's labels untrue, or that no
// build can carry out, is refused before anything is built; each with its reason.
func TestFlagsThatAreRefused(t *testing.T) {
	t.Parallel()
	for flag, says := range map[string]string{
		"-DGGML_NATIVE=ON":                                "`cpu=native`",
		"-DCMAKE_CXX_FLAGS=-O3 -march=native":             "`cpu=LEVEL`",
		"-DCMAKE_C_FLAGS_RELEASE=-mtune=native":           "`cpu=LEVEL`",
		"-DCMAKE_CXX_FLAGS=-march=znver4":                 "`cpu=LEVEL`",
		"-DCMAKE_CXX_FLAGS=-mcpu=neoverse-n1":             "`cpu=LEVEL`",
		"-DCMAKE_C_FLAGS=-mavx512f":                       "`cpu=LEVEL`",
		"-DCMAKE_CUDA_FLAGS=-Xcompiler=-march=native":     "`cpu=LEVEL`",
		"-DCMAKE_CUDA_FLAGS=-Xcompiler \"-march=native\"": "`cpu=LEVEL`",
		"-DCMAKE_CXX_COMPILER=g++;-march=native":          "`cpu=LEVEL`",
		"-DGGML_AVX512=ON":                                "`cpu=LEVEL`",
		"-DGGML_AVX2=OFF":                                 "`cpu=LEVEL`",
		"-DGGML_AMX_INT8=ON":                              "`cpu=LEVEL`",
		"-DCMAKE_CUDA_ARCHITECTURES=native":               "`cuda-arch`",
		"-DGGML_CUDA_ARCHITECTURES=80;86":                 "`cuda-arch`",
		"-DCMAKE_HIP_ARCHITECTURES=native":                "native",
		"-DBUILD_SHARED_LIBS=OFF":                         "loads its backends",
		"-DGGML_STATIC=ON":                                "loads its backends",
		"-DGGML_CPU=OFF":                                  "the CPU backend",
		"-DGGML_RPC=ON":                                   "no variant",
		"-DGGML_BLAS=ON":                                  "BLAS",
		"-DGGML_HIP=ON":                                   "`variant=vulkan`",
		"-DGGML_VULKAN=ON":                                "`variant=vulkan`",
		"-DGGML_CUDA=ON":                                  "`cuda`",
		"-DLLAMA_CURL=ON":                                 "libcurl",
		"-DLLAMA_BUILD_UI=ON":                             "step of its own",
		"-DLLAMA_BUILD_APP=ON":                            "`programs=llama`",
	} {
		r := request(func(r *images.Request) { r.CMakeFlags = []string{flag} })
		if _, err := r.Normalise(); fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", flag, err, says)
		}
	}
	for _, flag := range []string{
		"-DGGML_RPC=OFF", "-DGGML_NATIVE=OFF", "-DBUILD_SHARED_LIBS=ON", "-DCMAKE_CXX_FLAGS=-O2 -g -mno-omit-leaf-frame-pointer", "-DGGML_OPENMP=OFF",
		"-DCMAKE_C_FLAGS=-DPATH=/opt/x-march/y", "-DLLAMA_OPENSSL=ON", "-DGGML_LTO=ON",
	} {
		r := request(func(r *images.Request) { r.CMakeFlags = []string{flag} })
		if _, err := r.Normalise(); err != nil {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

// The tree's own CMake files tell which definitions do something.
func TestFlagsThatTheTreeDoesNotKnow(t *testing.T) {
	t.Parallel()
	tree, err := images.ReadTree(map[string][]byte{
		"CMakeLists.txt":              []byte("project(\"llama.cpp\" C CXX)\nset(LLAMA_VERSION_MAJOR 1)\noption(LLAMA_ALL_WARNINGS \"llama: enable\" ON)\n"),
		"ggml/CMakeLists.txt":         []byte("option(GGML_OPENMP  \"ggml: use OpenMP\" ON)\nset   (GGML_BLAS_VENDOR ${V} CACHE STRING \"x\")\noption(GGML_NEW \"ggml: new\" OFF)\n"),
		"ggml/src/CMakeLists.txt":     []byte("ggml_add_backend(CPU)\nggml_add_backend(NEW)\n"),
		"tools/server/CMakeLists.txt": nil,
	})
	if err != nil {
		t.Fatal(err)
	}
	with := func(flags ...string) (images.Plan, error) {
		r, err := request(func(r *images.Request) { r.CMakeFlags = flags }).Normalise()
		if err != nil {
			t.Fatal(err)
		}
		f := facts(nil)
		f.Source.Tree = tree
		return images.MakePlan(r, f)
	}
	p, err := with("-DGGML_OPENMP=OFF", "-DGGML_BLAS_VENDOR=x", "-DLLAMA_ALL_WARNINGS=ON", "-DMINE=1", "-DGGML_CPU=ON")
	if err != nil || len(p.Notes) > 0 {
		t.Errorf("%v, noted %q", err, p.Notes)
	}
	p, err = with("-DGGML_GONE=1", "-DLLAMA_GONE=1", "-DLLAMA_VERSION_MAJOR=1")
	if err != nil || len(p.Notes) != 3 || !strings.Contains(p.Notes[0], "GGML_GONE") {
		t.Errorf("%v, noted %q", err, p.Notes)
	}
	plain, err := with()
	if err != nil || plain.Recipe == "" || plain.Recipe == p.Recipe {
		t.Errorf("%v", err)
	}
	if _, err := with("-DGGML_NEW=ON"); fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), "-DGGML_NEW compiles a backend") {
		t.Errorf("a backend that nobody planned: %v", err)
	}
}

func TestPrograms(t *testing.T) {
	t.Parallel()
	with := func(programs ...string) images.Plan {
		return plan(t, func(r *images.Request) { r.Programs = programs }, nil)
	}
	last := func(p images.Plan) images.Part { return p.Parts[len(p.Parts)-1] }
	has := func(p images.Plan, flag string) bool { return strings.Contains(strings.Join(last(p).Flags, " "), flag) }
	server := with()
	if got := last(server).Programs; len(got) != 1 || got[0] != "llama-server" || !has(server, "-DLLAMA_BUILD_APP=OFF") {
		t.Errorf("by default %q", got)
	}
	if p := with("llama-server"); p.Recipe != server.Recipe || p.Fit != server.Fit {
		t.Error("the server beside itself is another image")
	}
	some := with("llama-quantize", "llama", "llama-cli", "llama")
	if got := strings.Join(last(some).Programs, " "); got != "llama-server llama llama-cli llama-quantize" || got != some.Image.Labels[images.LabelPrograms] ||
		strings.Join(last(some).Targets, " ") != "llama-server llama-app llama-cli llama-quantize" || !has(some, "-DLLAMA_BUILD_APP=ON") || some.Source.Layout == images.LayoutParts {
		t.Errorf("got %q, targets %q, flags %q", got, last(some).Targets, last(some).Flags)
	}
	all := with(images.AllPrograms)
	if l := last(all); len(l.Targets) != 0 || len(l.Programs) != 1 || !has(all, "-DLLAMA_BUILD_APP=ON") {
		t.Errorf("all: %+v", l)
	}
	for _, p := range []images.Plan{some, all} {
		if p.Recipe == server.Recipe || p.Fit == server.Fit {
			t.Error("an image with the server alone fits a request for more")
		}
	}
	for _, wrong := range [][]string{{"llama-cli;rm"}, {"../llama-x"}, {"curl"}, {"all", "llama-cli"}, {""}} {
		if _, err := request(func(r *images.Request) { r.Programs = wrong }).Normalise(); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

// No sentence for people is in a recipe's digest: one that is worded anew would make
// every image another.
func TestRecipeHasNoSentences(t *testing.T) {
	t.Parallel()
	layout := func(why string) images.Plan {
		return plan(t, nil, func(f *images.Facts) {
			tree := *f.Source.Tree
			tree.Layout, tree.LayoutWhy = images.LayoutWhole, why
			f.Source.Tree = &tree
		})
	}
	if layout("it has no folder x").Recipe != layout("there is no x").Recipe {
		t.Error("a reason's words are part of the recipe")
	}
}

func TestLabelsSayWhatTheImageHas(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]images.Plan{
		images.UIBuilt:     plan(t, nil, nil),
		images.UINotWanted: plan(t, func(r *images.Request) { r.NoUI = true }, nil),
	} {
		if got := p.Image.Labels[images.LabelUI]; got != want {
			t.Errorf("%s is %q, want %q", images.LabelUI, got, want)
		}
	}
	if got := plan(t, cuda, cudaFacts).Image.Labels[images.LabelBackends]; got != "cpu cuda" {
		t.Errorf("backends %q", got)
	}
}
