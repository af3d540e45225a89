package images

import "strings"

// Clang is the value of CompileRule.Compiler for clang.
const Clang = "clang"

// CompileRule says how some sources are compiled. The first rule whose pattern
// matches applies. Sources that no rule matches are compiled as CMake says.
type CompileRule struct {
	// Sources is a shell pattern of paths from the tree's top. A star also matches slashes.
	Sources string `json:"sources"`
	// Compiler is Clang, or empty for CMake's compiler. If clang finds an error in a
	// source, CMake's compiler compiles it.
	Compiler string `json:"compiler,omitempty"`
	// Flags are appended to CMake's.
	Flags string `json:"flags,omitempty"`
}

// compileRules make llama.cpp compile faster without making it slower. They come from
// interleaved measurements against llama.cpp's own build, of llama.cpp v0.5.0 with gcc 14
// and clang 19 on two cores:
//
//   - For the CPU backend, clang at -O2 takes two thirds of the time of gcc at -O3, and the
//     result is as fast. Exceptions: with gcc, the intrinsics in arch/ read prompts a tenth
//     faster, and attention in ops.cpp generates tokens a seventh faster.
//   - gcc compiles OpenMP code, because the image has gcc's OpenMP runtime library.
//   - The server's other work is as fast only with llama.cpp's own compiler and level:
//     clang at -O1 to -O3 took up to 13 % longer for the tokenizer, 10 % for chat templates,
//     7 % for sampling with a JSON schema. So the vocabulary, the sampler, common and the
//     server are compiled as CMake says.
//   - Code that only describes models and their graphs does not compute. Its optimisation
//     level made no difference.
//
// Each source is compiled alone, as CMake says, and without precompiled headers. Combining
// sources or precompiling headers would be faster, but both can change what a source means.
//
// The kernels of other architectures were not measured and are compiled as CMake says.
func compileRules(arch string, users []string) []CompileRule {
	for _, f := range users {
		name, _, _ := strings.Cut(strings.TrimPrefix(f, "-D"), "=")
		for _, own := range []string{"CMAKE_C_", "CMAKE_CXX_", "CMAKE_BUILD_TYPE", "CMAKE_TOOLCHAIN_FILE"} {
			// A user who chooses compilers or compiler flags overrides the rules.
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
		// Sources of models that llama.cpp's own CMake files combine.
		CompileRule{"src/CMakeFiles/*/Unity/*", Clang, "-O1"},
		CompileRule{"src/llama-arch*", Clang, "-O1"},
		CompileRule{"src/llama-model*", Clang, "-O1"},
		CompileRule{"src/unicode-data*", Clang, "-O1"},
		CompileRule{"tools/mtmd/models/*", Clang, "-O1"},
		CompileRule{"tools/mtmd/*", Clang, "-O2"},
		CompileRule{"examples/llava/*", Clang, "-O2"},
	)
}
