package images

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// ownSettings maps definitions to the settings that control them. Set directly, they would
// contradict the plan.
var ownSettings = map[string]string{
	"CMAKE_CUDA_ARCHITECTURES": "`cuda-arch`",
	"GGML_CUDA_ARCHITECTURES":  "`cuda-arch`",
	"GGML_BACKEND_DL":          "`cpu` and `variant`",
	"GGML_CPU_ALL_VARIANTS":    "`cpu=portable`",
	"GGML_CPU_ARM_ARCH":        "`cpu=LEVEL`",
	"LLAMA_BUILD_UI":           "`no-ui`, or omit it: the web UI is built in a step of its own",
	"LLAMA_USE_PREBUILT_UI":    "`no-ui`, or omit it: the web UI is built in a step of its own, without a download",
	"LLAMA_BUILD_APP":          "`programs=llama`",
}

// cpuFeature matches definitions that select single CPU instructions (ggml/CMakeLists.txt).
var cpuFeature = regexp.MustCompile(`^GGML_(SSE42|AVX|AVX2|AVX_VNNI|AVX512|AVX512_[A-Z0-9]+|FMA|F16C|BMI2|AMX_[A-Z0-9]+|LASX|LSX|RVV|RV_[A-Z0-9]+|VXE|NNPA|XTHEADVECTOR|CPU_POWERPC_CPUTYPE)$`)

// chooses matches compiler options that select a CPU, in the value of any definition.
var chooses = regexp.MustCompile(`(^|[\s;,"'=])-(march|mcpu|mtune|mavx|mavx2|mavx512|mfma|mf16c|mbmi|mbmi2|msse|mssse|mamx)[A-Za-z0-9.]*(=|[\s;,"'-]|$)`)

// needs maps definitions of ggml and llama.cpp to what they need and no variant's
// toolchain or image has.
var needs = map[string]string{
	"GGML_RPC":              "a backend that no variant has",
	"GGML_BLAS":             "a BLAS library, which the toolchain does not have",
	"GGML_HIP":              "AMD's ROCm, which no variant has; `variant=vulkan` serves AMD's GPUs",
	"GGML_HIPBLAS":          "AMD's ROCm, which no variant has; `variant=vulkan` serves AMD's GPUs",
	"GGML_MUSA":             "Moore Threads' toolkit, which no variant has",
	"GGML_SYCL":             "Intel's oneAPI, which no variant has; `variant=vulkan` serves Intel's GPUs",
	"GGML_OPENCL":           "OpenCL, which no variant has; `variant=vulkan` serves many of its GPUs",
	"GGML_CANN":             "Ascend's toolkit, which no variant has",
	"GGML_METAL":            "macOS; the images are for Linux",
	"GGML_WEBGPU":           "Dawn, which no variant has",
	"GGML_HEXAGON":          "Qualcomm's SDK, which no variant has",
	"GGML_KOMPUTE":          "Kompute, a submodule; `variant=vulkan` serves the same GPUs",
	"GGML_OPENVINO":         "OpenVINO, which no variant has",
	"GGML_ZDNN":             "IBM's zDNN, which no variant has",
	"GGML_ZENDNN":           "AMD's ZenDNN, which no variant has",
	"GGML_VIRTGPU":          "a virtual GPU's libraries, which no variant has",
	"GGML_CPU_HBM":          "the memkind library, which the toolchain does not have",
	"GGML_CPU_KLEIDIAI":     "a download during the compile, which has no network",
	"GGML_ACCELERATE":       "macOS; the images are for Linux",
	"GGML_STATIC":           "static libraries, but the server loads its backends as shared libraries",
	"LLAMA_CURL":            "libcurl's headers, which the toolchain does not have: llorch-bk downloads and verifies models before the server starts",
	"LLAMA_LLGUIDANCE":      "Rust and a download during the compile, which has no network",
	"LLAMA_SANITIZE_THREAD": "a sanitizer's library in the image",
}

// whyRefused returns why a definition is refused: it would make the plan and the image's
// labels untrue, or no build could honour it. It is empty for an allowed definition.
func whyRefused(name, value string) string {
	if use, ok := ownSettings[name]; ok {
		return fmt.Sprintf("-D%s would contradict the plan and the image's labels: use %s", name, use)
	}
	switch {
	case name == "GGML_NATIVE" && !isOff(value):
		return "-DGGML_NATIVE would compile for a CPU that the image's label cannot name: use `cpu=native`"
	case strings.EqualFold(value, "native"):
		return fmt.Sprintf("-D%s=%s would compile for a machine that the image's labels cannot name: use `cpu=native` or `cuda-arch=auto`", name, value)
	case cpuFeature.MatchString(name):
		return fmt.Sprintf("-D%s selects CPU instructions that the image's label does not name: use `cpu=LEVEL`", name)
	case chooses.MatchString(value):
		return fmt.Sprintf("-D%s=%s compiles for a CPU that the image's label does not name: use `cpu=LEVEL`", name, value)
	case name == "BUILD_SHARED_LIBS" && isOff(value):
		return "-DBUILD_SHARED_LIBS=OFF is impossible, because the server loads its backends as shared libraries: omit it"
	case name == "GGML_CPU" && isOff(value):
		return "-DGGML_CPU=OFF would make an image that cannot start: every variant needs the CPU backend"
	}
	if what, ok := needs[name]; ok && !isOff(value) {
		return fmt.Sprintf("-D%s needs %s", name, what)
	}
	return ""
}

var (
	optionLine  = regexp.MustCompile(`(?mi)^\s*(?:option|llama_option_depr|set)\s*\(\s*(?:WARNING\s+|FATAL_ERROR\s+)?((?:GGML|LLAMA)_[A-Z0-9_]+)(?:\s+"|\s[^()\n]*\bCACHE\b|\s*\))`)
	backendLine = regexp.MustCompile(`(?m)^\s*ggml_add_backend\s*\(\s*([A-Za-z0-9_]+)\s*\)`)
)

// namesIn are the names that a pattern matches in CMake files, sorted.
func namesIn(files map[string][]byte, pattern *regexp.Regexp) []string {
	var out []string
	for name, text := range files {
		if !strings.HasSuffix(name, "CMakeLists.txt") {
			continue
		}
		for _, m := range pattern.FindAllSubmatch(text, -1) {
			out = append(out, string(m[1]))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// checkFlags compares a user's definitions with the tree. A backend that the plan does
// not compile is an error; a name that the tree does not declare gets a note.
func checkFlags(t *Tree, flags []string, backends []Backend) (notes []string, err error) {
	if t == nil {
		return nil, nil
	}
	for _, f := range flags {
		name, value, _ := strings.Cut(strings.TrimPrefix(f, "-D"), "=")
		backend, ggml := strings.CutPrefix(name, "GGML_")
		planned := slices.ContainsFunc(backends, func(b Backend) bool { return b.Flag == name })
		if ggml && !isOff(value) && !planned && slices.ContainsFunc(t.Backends, func(b string) bool { return strings.EqualFold(b, backend) }) {
			return nil, fmt.Errorf("-D%s compiles a backend that no variant of this program has", name)
		}
		if (ggml || strings.HasPrefix(name, "LLAMA_")) && len(t.Options) > 0 && !slices.Contains(t.Options, name) && !planned {
			notes = append(notes, fmt.Sprintf("the source's CMake files have no option %s, so -D%s most likely does nothing", name, name))
		}
	}
	return notes, nil
}
