package images

import (
	"path"
	"slices"
	"strings"
)

// split separates the flags of a kind from the rest.
func split(flags []string, kind func(string) bool) (of, rest []string) {
	for _, f := range flags {
		if kind(f) {
			of = append(of, f)
		} else {
			rest = append(rest, f)
		}
	}
	return of, rest
}

// isAccelerators reports whether only a GPU backend's CMake files read a definition.
func isAccelerators(flag string) bool {
	name, _, _ := strings.Cut(strings.TrimPrefix(flag, "-D"), "=")
	return name == "GGML_CUDA" || name == "GGML_VULKAN" || strings.HasPrefix(name, "GGML_CUDA_") || strings.HasPrefix(name, "GGML_VULKAN_") || strings.HasPrefix(name, "CMAKE_CUDA_")
}

// baseFlags are the definitions that all parts of every variant share. The reasons:
//
//   - GGML_BACKEND_DL makes each backend a module that is loaded from the
//     server's folder, so that one image can have many.
//   - GGML_BUILD_NUMBER and GGML_BUILD_COMMIT keep trees of 2025 from running git,
//     which is not installed, and keep the commit out of each part's key.
//   - GGML_LLAMAFILE and GGML_CUDA_GRAPHS are set by llama.cpp's own project. They have
//     to be set here because ggml is also configured alone.
//   - GGML_ALL_WARNINGS and LLAMA_ALL_WARNINGS help developers of llama.cpp; here they
//     only cost time.
//   - LLAMA_USE_PREBUILT_UI would download the web UI during the compile.
//   - LLAMA_CURL and LLAMA_OPENSSL are off because models are downloaded and
//     verified before the server starts. Trees of 2026 ignore LLAMA_CURL; older
//     ones would fail because its headers are missing.
//   - The rpath finds the libraries beside the server, wherever that is.
func baseFlags(p Plan) []string {
	return []string{
		"-DBUILD_SHARED_LIBS=ON",
		"-DCMAKE_BUILD_TYPE=Release",
		"-DCMAKE_BUILD_WITH_INSTALL_RPATH=ON",
		"-DCMAKE_INSTALL_RPATH=$ORIGIN",
		"-DGGML_ALL_WARNINGS=OFF",
		"-DGGML_BACKEND_DL=ON",
		"-DGGML_BUILD_COMMIT=unknown",
		"-DGGML_BUILD_NUMBER=0",
		"-DGGML_CUDA_GRAPHS=ON",
		"-DGGML_LLAMAFILE=ON",
		"-DGGML_NATIVE=OFF",
		"-DLLAMA_ALL_WARNINGS=OFF",
		"-DLLAMA_BUILD_EXAMPLES=" + onOff(p.needsExamples()),
		"-DLLAMA_BUILD_TESTS=OFF",
		"-DLLAMA_BUILD_UI=OFF",
		"-DLLAMA_CURL=OFF",
		"-DLLAMA_OPENSSL=OFF",
		"-DLLAMA_USE_PREBUILT_UI=OFF",
	}
}

// buildFlags give the commit, which CMake cannot get from git: the tree has no .git.
func buildFlags(p Plan) []string {
	return []string{"-DLLAMA_BUILD_COMMIT=" + p.Source.Short, "-DLLAMA_BUILD_NUMBER=" + p.Source.BuildNumber}
}

// isDev marks a tree as a development version, as llama.cpp does by default. A release
// is a tree whose tag equals the version in its own CMake files.
func isDev(p Plan) string {
	return "-DLLAMA_BUILD_IS_DEV=" + onOff(p.Source.Version == "" || p.Source.treeVersion != p.Source.Version)
}

// allVariants compiles the CPU backend once for each CPU generation that ggml knows.
const allVariants = "-DGGML_CPU_ALL_VARIANTS=ON"

// cpuFlags are the definitions of the CPU level.
func cpuFlags(p Plan) []string {
	switch level := p.CPU.Level; level {
	case "":
		return nil
	case CPUPortable:
		return []string{allVariants}
	default:
		_, arch, _ := strings.Cut(p.Platform, "/")
		l, err := FindLevel(arch, level)
		if err != nil {
			return nil
		}
		return l.Flags
	}
}

// overridden are a part's flags without those that the user sets for all parts.
// Linker flags are joined instead: without ours, a CUDA link stops at the driver's stub.
func overridden(part, users []string) []string {
	var out []string
	for _, f := range part {
		name, value, _ := strings.Cut(f, "=")
		for _, u := range users {
			if uname, uvalue, _ := strings.Cut(u, "="); uname == name {
				f = ""
				if name == "-DCMAKE_EXE_LINKER_FLAGS" {
					f = name + "=" + value + " " + uvalue
				}
			}
		}
		if f != "" {
			out = append(out, f)
		}
	}
	return out
}

func onOff(b bool) string {
	if b {
		return "ON"
	}
	return "OFF"
}

// mergeFlags sorts our flags; the user's replace ours of the same name.
func mergeFlags(ours, users []string) []string {
	byName := map[string]string{}
	for _, f := range slices.Concat(ours, users) {
		name, _, _ := strings.Cut(f, "=")
		byName[name] = f
	}
	out := make([]string, 0, len(byName))
	for _, f := range byName {
		out = append(out, f)
	}
	slices.Sort(out)
	return out
}

// needsExamples is true for trees that keep the server in examples/.
func (p Plan) needsExamples() bool { return path.Dir(p.Source.serverDir) == "examples" }
