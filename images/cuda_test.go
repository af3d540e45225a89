package images_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
)

// Where the facts of the table are from:
//
//	GPUs       NVIDIA's list of CUDA GPUs and their compute capability
//	12.4 …13.0 the release notes of that CUDA toolkit: minimum drivers (tables 2 and
//	           3), and what it deprecated and dropped
//	nvcc       the manual of nvcc: which code runs on which GPU
//	llama.cpp  ggml/src/ggml-cuda/CMakeLists.txt of v0.5.0
//	issue N    a report in llama.cpp's tracker
const (
	gpus     = "GPUs"
	cuda128  = "CUDA 12.8 release notes"
	cuda130  = "CUDA 13.0 release notes"
	cuda124  = "CUDA 12.4 release notes"
	nvcc     = "nvcc"
	llamaCPP = "llama.cpp"
)

var (
	nvidia128 = "docker.io/nvidia/cuda:12.8.1-devel-ubuntu24.04@sha256:520292dbb4f755fd360766059e62956e9379485d9e073bbd2f6e3c20c270ed66"
	nvidia130 = "docker.io/nvidia/cuda:13.0.1-devel-ubuntu24.04@sha256:7d2f6a8c2071d911524f95061a0db363e24d27aa51ec831fcccf9e76eb72bc92"
)

func TestChooseCUDA(t *testing.T) {
	t.Parallel()
	noImages := []string{nvidia128, nvidia130}
	for name, c := range map[string]struct {
		variant string
		archs   string
		driver  string
		has     string // compute capabilities
		without []string
		// want is the variant and its architectures, or the class and a part of the error
		want   string
		note   string
		class  fault.Class
		do     string
		source string
	}{
		"GTX 1080 Ti, driver of its last branch": {"cuda", "auto", "580.95.05", "6.1", nil, "cuda12 61", "", 0, "", gpus + ", " + cuda128},
		"GTX 1080 Ti, driver 550 (issue 24418)":  {"cuda", "auto", "550.163.01", "6.1", nil, "cuda12 61", "", 0, "", "issue 24418, " + cuda128},
		"GTX 980":                                {"cuda", "auto", "570.124.06", "5.2", nil, "cuda12 52", "", 0, "", gpus},
		"Tesla P100":                             {"cuda", "auto", "535.183.01", "6.0", nil, "cuda12 60", "", 0, "", gpus},
		"Tesla V100":                             {"cuda", "auto", "535.183.01", "7.0", nil, "cuda12 70", "", 0, "", gpus},
		"RTX 2080":                               {"cuda", "auto", "525.60.13", "7.5", nil, "cuda12 75", "", 0, "", "the least driver of " + cuda128},
		"Tesla T4, a driver one too old":         {"cuda", "auto", "515.105.01", "7.5", nil, "needs driver 525.60.13", "", fault.Machine, "update the NVIDIA driver to 525.60.13", cuda128},
		"RTX 3090":                               {"cuda", "auto", "555.42.02", "8.6", nil, "cuda12 86", "", 0, "", gpus},
		"A100":                                   {"cuda", "auto", "535.183.01", "8.0", nil, "cuda12 80", "", 0, "", gpus},
		"RTX 4090":                               {"cuda", "auto", "560.35.03", "8.9", nil, "cuda12 89", "", 0, "", gpus},
		"H100":                                   {"cuda", "auto", "550.54.15", "9.0", nil, "cuda12 90", "", 0, "", gpus},
		"B200":                                   {"cuda", "auto", "570.124.06", "10.0", nil, "cuda12 100", "", 0, "", cuda128},
		"RTX 5090, code for exactly itself":      {"cuda", "auto", "575.57.08", "12.0", nil, "cuda12 120-real", "", 0, "", llamaCPP + ": 120 is made 120a"},
		"B300 runs the code of 10.0":             {"cuda", "auto", "580.65.06", "10.3", nil, "cuda12 100", "run the code for 10.0", 0, "", nvcc},
		"DGX Spark needs CUDA 13":                {"cuda", "auto", "580.95.05", "12.1", nil, "cuda13 121-real", "", 0, "", llamaCPP + ": 121a from CUDA 12.9"},
		"DGX Spark, driver too old for CUDA 13":  {"cuda", "auto", "575.57.08", "12.1", nil, "cuda12 100", "their driver compiles", 0, "", nvcc},
		"DGX Spark, CUDA 13 by name":             {"cuda13", "auto", "575.57.08", "12.1", nil, "needs driver 580.65.06", "", fault.Machine, "use `variant=cuda12`", cuda130},
		"two cards of two generations":           {"cuda", "auto", "570.124.06", "8.9 6.1", nil, "cuda12 61-real 89", "", 0, "", gpus},
		"two equal cards":                        {"cuda", "auto", "570.124.06", "8.6 8.6", nil, "cuda12 86", "", 0, "", gpus},
		"Jetson-like 8.7 has its own code":       {"cuda", "auto", "570.124.06", "8.7", nil, "cuda12 87", "", 0, "", nvcc},
		"Kepler is too old for all":              {"cuda", "auto", "470.256.02", "3.5", nil, "needs driver 525.60.13", "", fault.Machine, "vulkan", cuda128},
		"Kepler, were its driver new":            {"cuda", "auto", "570.124.06", "3.7", nil, "no longer supports compute capability 3.7 (Kepler)", "", fault.Machine, "`variant=vulkan`", cuda128},
		"Pascal on CUDA 13, by auto":             {"cuda13", "auto", "580.95.05", "6.1", nil, "no longer supports compute capability 6.1 (Pascal)", "", fault.Machine, "`variant=cuda12`", cuda130},
		"Volta on CUDA 13, by name":              {"cuda13", "70", "", "", nil, "no longer supports compute capability 7.0 (Volta)", "", fault.Usage, "`variant=cuda12`", cuda130},
		"Turing on CUDA 13":                      {"cuda13", "auto", "580.95.05", "7.5", nil, "cuda13 75", "", 0, "", cuda130},
		"CUDA 13 on driver 570":                  {"cuda13", "auto", "570.124.06", "8.9", nil, "needs driver 580.65.06", "", fault.Machine, "`variant=cuda12`", cuda130},
		"Debian's, RTX 3060":                     {"cuda-debian", "auto", "550.54.14", "8.6", nil, "cuda-debian 86", "", 0, "", cuda124},
		"Debian's, RTX 5090 compiles PTX":        {"cuda-debian", "auto", "575.57.08", "12.0", nil, "cuda-debian 90", "their driver compiles", 0, "", nvcc},
		"Debian's, a driver that cannot":         {"cuda-debian", "auto", "545.23.06", "12.0", nil, "is too old to compile its PTX", "", fault.Machine, "550.54.14", cuda124},
		"no NVIDIA image: Debian's":              {"cuda", "auto", "570.124.06", "8.6", noImages, "cuda-debian 86", "", 0, "", cuda124},
		"no NVIDIA image, asked by list":         {"cuda", "86,89", "", "", noImages, "cuda-debian 86-real 89", "", 0, "", cuda124},
		"no NVIDIA image, Blackwell by list":     {"cuda", "120", "", "", noImages, "does not support compute capability 12.0", "", fault.Machine, "", cuda124},
		"a list is for any machine":              {"cuda", "89", "470.256.02", "3.5", nil, "cuda12 89", "", 0, "", "the request"},
		"a list with a suffix":                   {"cuda", "90a", "", "", nil, "cuda12 90a-real", "", 0, "", nvcc},
		"a list that only CUDA 13 knows":         {"cuda", "121", "", "", nil, "cuda13 121-real", "", 0, "", llamaCPP},
		"a list that nobody knows":               {"cuda", "99", "", "", nil, "does not support compute capability 9.9", "", fault.Usage, "name one of", nvcc},
		"all of CUDA 12.8":                       {"cuda", "all", "", "", nil, "cuda12 61-real 70-real 75-real 80-real 86-real 89-real 90-real 100 120-real", "", 0, "", nvcc},
		"all is the default":                     {"cuda13", "", "", "", nil, "cuda13 75-real 80-real 86-real 89-real 90-real 100-real 103 120-real 121-real", "", 0, "", nvcc},
		"auto without a GPU":                     {"cuda", "auto", "", "", nil, "no NVIDIA GPU", "", fault.Machine, "`cuda-arch=86,89`", "the machine"},
		"a driver that tells no capability":      {"cuda", "auto", "418.226.00", "?", nil, "no NVIDIA GPU", "", fault.Machine, "`cuda-arch=86,89`", "nvidia-smi of that driver"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := normal(t, func(r *images.Request) {
				r.Variant = c.variant
				if c.archs != "" {
					r.CUDAArch = strings.Split(c.archs, ",")
				}
			})
			host := &images.GPUFacts{Driver: c.driver}
			for i, capability := range strings.Fields(c.has) {
				host.Devices = append(host.Devices, images.GPU{Index: i, Capability: strings.Trim(capability, "?")})
			}
			got, err := images.Choose(r, images.Facts{GPU: host, Unreachable: c.without})
			if fault.ClassOf(err) != c.class && (err != nil || c.class != 0) {
				t.Fatalf("%v (%s)", err, c.source)
			}
			if err != nil {
				report := fault.Report(err)
				if !strings.Contains(report, c.want) || !strings.Contains(report, c.do) {
					t.Errorf("no %q and %q (%s) in:\n%s", c.want, c.do, c.source, report)
				}
				return
			}
			if is := strings.Join(append([]string{got.Variant.Name}, got.CUDA.Archs...), " "); is != c.want {
				t.Errorf("got %s, want %s (%s)", is, c.want, c.source)
			}
			if notes := strings.Join(got.CUDA.Notes, "\n"); !strings.Contains(notes, c.note) || c.note == "" && notes != "" {
				t.Errorf("notes %q, want %q", notes, c.note)
			}
			// What was chosen for a machine must run on it.
			if c.archs == "auto" {
				for _, d := range host.Devices {
					if err := images.Serves(got.CUDA.Archs, d.Capability); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}

func TestServes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		archs, capability string
		want              bool
	}{
		{"86", "8.6", true},
		{"86-real", "8.6", true},
		{"86-real", "8.9", true},  // the same generation
		{"89-real", "8.6", false}, // older than the code
		{"86-real", "9.0", false}, // another generation, and no PTX
		{"86", "9.0", true},       // by PTX
		{"86", "12.0", true},
		{"120-real", "12.0", true},
		{"120-real", "12.1", false}, // made 120a
		{"120", "12.1", false},
		{"90a-real", "9.0", true},
		{"90a", "10.0", false}, // PTX of 90a is for 9.0 alone
		{"61-real;70-real;75-real;80", "6.0", false},
	} {
		if err := images.Serves(strings.Split(c.archs, ";"), c.capability); (err == nil) != c.want {
			t.Errorf("%s on a GPU of %s: %v", c.archs, c.capability, err)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	t.Parallel()
	ordered := []string{"470.256.02", "525.60.13", "525.105.17", "535", "535.183.01", "570.26", "570.124.06", "580.65.06"}
	if !slices.IsSortedFunc(ordered, images.CompareVersions) {
		t.Errorf("not in order: %v", ordered)
	}
	if images.CompareVersions("535.0", "535") != 0 {
		t.Error("535.0 is not 535")
	}
}

// A GPU's own flags belong to its part alone, so that the CPU's parts are shared.
func TestGPUFlagsStayWithTheirPart(t *testing.T) {
	t.Parallel()
	p := plan(t, func(r *images.Request) {
		r.Variant, r.CUDAArch = "cuda", []string{"86"}
		r.CMakeFlags = []string{"-DGGML_CUDA_FA=OFF", "-DGGML_CUDA_NCCL=ON", "-DGGML_LTO=ON"}
	}, cudaFacts)
	cpu := plan(t, func(r *images.Request) { r.CMakeFlags = []string{"-DGGML_LTO=ON"} }, nil)
	if !slices.Equal(p.CMake.Flags, cpu.CMake.Flags) {
		t.Errorf("parts of the CPU are told %v, without a GPU %v", p.CMake.Flags, cpu.CMake.Flags)
	}
	for _, part := range p.Parts {
		for _, f := range part.Flags {
			if strings.Contains(f, "CUDA_") && part.Name != "ggml-cuda" {
				t.Errorf("%s is told %s", part.Name, f)
			}
		}
		if part.Name == "ggml-cuda" && (!slices.Contains(part.Flags, "-DGGML_CUDA_FA=OFF") || slices.Contains(part.Flags, "-DGGML_CUDA_NCCL=OFF")) {
			t.Errorf("the CUDA backend is told %v", part.Flags)
		}
		if part.Accelerated != (part.Name == "ggml-cuda") {
			t.Errorf("%s: accelerated is %v", part.Name, part.Accelerated)
		}
	}
}

// An image for the same GPUs does, whichever toolkit made it; one for others does not.
func TestFitOfAFamily(t *testing.T) {
	t.Parallel()
	fit := func(variant, archs string, f func(*images.Facts)) string {
		p := plan(t, func(r *images.Request) { r.Variant, r.CUDAArch = variant, strings.Split(archs, ",") }, f)
		if p.Fit == "" {
			t.Fatal("no fit")
		}
		return p.Fit
	}
	base := fit("cuda", "86", cudaFacts)
	if fit("cuda", "86", func(f *images.Facts) { f.Unreachable = []string{nvidia128, nvidia130} }) != base {
		t.Error("Debian's toolkit makes another fit")
	}
	if fit("cuda", "89", cudaFacts) == base || fit("cuda-debian", "86", cudaFacts) == base {
		t.Error("another request has the same fit")
	}
	rtx := func(capability string) func(*images.Facts) {
		return func(f *images.Facts) {
			f.GPU = &images.GPUFacts{Driver: "580.95.05", Devices: []images.GPU{{Capability: capability}}}
		}
	}
	if fit("cuda", "auto", rtx("8.6")) == fit("cuda", "auto", rtx("8.9")) {
		t.Error("two machines' GPUs have the same fit")
	}
}
