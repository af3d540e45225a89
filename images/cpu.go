package images

import (
	"fmt"
	"slices"
	"strings"
)

// Platforms are the platforms that images can be built for.
var Platforms = []string{"linux/amd64", "linux/arm64"}

const (
	// CPUPortable builds every CPU backend that ggml has for the architecture;
	// the server chooses the best one when it starts.
	CPUPortable = "portable"
	// CPUNative stands for the best level of the machine that runs the image.
	// The level's name replaces it before any digest or key is computed.
	CPUNative = "native"
)

// Level is a named set of CPU features that one CPU backend is compiled for.
type Level struct {
	// Name is the name that compilers use.
	Name string
	// Arch is the architecture in Go's spelling.
	Arch string
	// Needs are the features a machine must have, in the spelling of Linux'
	// /proc/cpuinfo.
	Needs []string
	// Flags are ggml's CMake options for it.
	Flags []string
	// RunsOn describes the machines that have it.
	RunsOn string
}

var (
	x86v2 = []string{"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}
	x86v3 = append(slices.Clone(x86v2), "abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe")
	x86v4 = append(slices.Clone(x86v3), "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
)

// Levels are the levels of all architectures, each architecture's from lowest to
// highest. The x86-64 levels are those of the psABI; ggml's AVX512 option means
// exactly the five extensions of x86-64-v4.
var Levels = []Level{
	{"x86-64-v1", "amd64", nil, x86Flags(), "any x86-64 machine (slow)"},
	{"x86-64-v2", "amd64", x86v2, x86Flags("SSE42"), "x86-64 machines from about 2009"},
	{"x86-64-v3", "amd64", x86v3, x86Flags("SSE42", "AVX", "F16C", "FMA", "AVX2", "BMI2"), "Intel from Haswell (2013), AMD from Excavator and Zen"},
	{"x86-64-v4", "amd64", x86v4, x86Flags("SSE42", "AVX", "F16C", "FMA", "AVX2", "BMI2", "AVX512"), "machines with AVX-512: Intel Skylake-X and later servers, AMD from Zen 4"},
	{"armv8-a", "arm64", nil, armFlags("armv8-a"), "any 64-bit Arm machine (slow)"},
	{"armv8.2-a", "arm64", []string{"asimddp", "asimdhp", "fphp"}, armFlags("armv8.2-a+dotprod+fp16"), "Arm from Cortex-A75, Neoverse N1 (Graviton 2), Apple M1"},
	{"armv8.6-a", "arm64", []string{"asimddp", "asimdhp", "fphp", "i8mm", "bf16"}, armFlags("armv8.6-a+dotprod+fp16+i8mm+bf16"), "Arm from Neoverse V1 (Graviton 3), Apple M2"},
}

var x86Options = []string{"SSE42", "AVX", "F16C", "FMA", "AVX2", "BMI2", "AVX512"}

// x86Flags sets every option explicitly, because ggml's default is ON.
func x86Flags(on ...string) []string {
	out := make([]string, 0, len(x86Options))
	for _, o := range x86Options {
		v := "OFF"
		if slices.Contains(on, o) {
			v = "ON"
		}
		out = append(out, "-DGGML_"+o+"="+v)
	}
	return out
}

func armFlags(arch string) []string { return []string{"-DGGML_CPU_ARM_ARCH=" + arch} }

// FindLevel returns the level of an architecture with this name.
func FindLevel(arch, name string) (Level, error) {
	names := []string{CPUPortable, CPUNative}
	for _, l := range Levels {
		if l.Arch != arch {
			continue
		}
		if l.Name == name {
			return l, nil
		}
		names = append(names, l.Name)
	}
	return Level{}, fmt.Errorf("CPU level must be one of %s, got %q", strings.Join(names, ", "), name)
}

// BestLevel is the highest level of an architecture that a machine with these
// features (spelled as in /proc/cpuinfo) can run.
func BestLevel(arch string, features []string) string {
	best := ""
	for _, l := range Levels {
		if l.Arch == arch && !slices.ContainsFunc(l.Needs, func(n string) bool { return !slices.Contains(features, n) }) {
			best = l.Name
		}
	}
	return best
}

// RunsOnLevel reports whether an image built for a level (or CPUPortable) runs on
// a machine whose best level is machine.
func RunsOnLevel(arch, image, machine string) bool {
	if image == CPUPortable {
		return true
	}
	order := func(name string) int {
		return slices.IndexFunc(Levels, func(l Level) bool { return l.Arch == arch && l.Name == name })
	}
	i, m := order(image), order(machine)
	return i >= 0 && m >= 0 && i <= m
}
