package images

import "strings"

// Clang is the compiler of rules that name one.
const Clang = "clang"

// CompileRule says how some sources are compiled. The first rule whose pattern
// matches counts; sources that none matches are compiled as CMake says.
type CompileRule struct {
	// Sources is a shell pattern of paths from the tree's top, in which a star
	// also stands for slashes.
	Sources string `json:"sources"`
	// Compiler is Clang, or empty for the one that CMake knows. What clang cannot
	// compile, because it finds an error in the source, is left to that one.
	Compiler string `json:"compiler,omitempty"`
	// Flags come after CMake's.
	Flags string `json:"flags,omitempty"`
}

// compileRules are how llama.cpp is compiled in less time without being slower, by
// measurements in turns with llama.cpp's own build, on llama.cpp v0.5.0 with gcc 14
// and clang 19 on two cores:
//
//   - Clang at -O2 takes two thirds of gcc's time at -O3 for the CPU backend, and
//     reads and writes as many tokens a second, but for the intrinsics in arch/,
//     of which gcc makes a tenth more at prompts, and attention, in ops.cpp, of
//     which it makes a seventh more when tokens are written.
//   - What uses OpenMP stays gcc's, whose runtime library is the one in the image.
//   - What a server does beside matrix products is as fast with llama.cpp's own
//     compiler and level only: clang at -O1 to -O3 took up to 13 % longer for
//     tokens, 10 % for chat templates, 7 % for sampling by a JSON schema. So the
//     vocabulary, the sampler, common and the server are compiled as CMake says.
//   - Descriptions of models and their graphs do not compute: what they are compiled
//     at made no difference there.
//
// Sources are compiled one by one, as CMake says, and none starts from headers that it
// does not name: both would cost less time, and both can change what a source means.
//
// The kernels of other architectures were not measured, so they stay as they are.
func compileRules(arch string, users []string) []CompileRule {
	for _, f := range users {
		name, _, _ := strings.Cut(strings.TrimPrefix(f, "-D"), "=")
		for _, own := range []string{"CMAKE_C_", "CMAKE_CXX_", "CMAKE_BUILD_TYPE", "CMAKE_TOOLCHAIN_FILE"} {
			// A user who chooses compilers or flags has the last word.
			if strings.HasPrefix(name, own) {
				return nil
			}
		}
	}
	var rules []CompileRule
	if arch == "amd64" {
		rules = []CompileRule{
			{Sources: "ggml/src/ggml-cpu/arch/*"},
			{Sources: "ggml/src/ggml-cpu/amx/*"},
			{Sources: "ggml/src/ggml-cpu/ggml-cpu.c"},
			{Sources: "ggml/src/ggml-cpu/ops.cpp"},
			{"ggml/src/ggml-cpu/*", Clang, "-O2"},
		}
	}
	return append(rules,
		CompileRule{"src/models/*", Clang, "-O1"},
		// Models that llama.cpp's own CMake files put together.
		CompileRule{"src/CMakeFiles/*/Unity/*", Clang, "-O1"},
		CompileRule{"src/llama-arch*", Clang, "-O1"},
		CompileRule{"src/llama-model*", Clang, "-O1"},
		CompileRule{"src/unicode-data*", Clang, "-O1"},
		CompileRule{"tools/mtmd/models/*", Clang, "-O1"},
		CompileRule{"tools/mtmd/*", Clang, "-O2"},
		CompileRule{"examples/llava/*", Clang, "-O2"},
	)
}
