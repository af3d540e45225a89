package images

import (
	"path"
	"slices"
	"strings"
)

// split sorts flags by whether they are of a kind.
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

// isAccelerators says that a definition is read where a backend for GPUs is
// configured, and nowhere else.
func isAccelerators(flag string) bool {
	name, _, _ := strings.Cut(strings.TrimPrefix(flag, "-D"), "=")
	return name == "GGML_CUDA" || name == "GGML_VULKAN" || strings.HasPrefix(name, "GGML_CUDA_") || strings.HasPrefix(name, "GGML_VULKAN_") || strings.HasPrefix(name, "CMAKE_CUDA_")
}

// baseFlags are the definitions that all parts of every variant share, each for
// a reason:
//
//   - GGML_BACKEND_DL makes each backend a module that is loaded from the
//     server's folder, so that one image can carry many.
//   - GGML_BUILD_NUMBER and GGML_BUILD_COMMIT keep trees of 2025 from asking git,
//     which is not there, and every part from being another with each commit.
//   - GGML_LLAMAFILE and GGML_CUDA_GRAPHS are what llama.cpp's own project
//     switches on in ggml; where ggml is configured alone, nobody does.
//   - The warnings of GGML_ALL_WARNINGS and LLAMA_ALL_WARNINGS are for those who
//     write llama.cpp; here they only cost time.
//   - LLAMA_USE_PREBUILT_UI would download the web UI during the compile.
//   - LLAMA_CURL and LLAMA_OPENSSL are off because models are fetched and
//     verified before the server starts; the former is ignored by trees of 2026
//     and would fail older ones for want of its headers.
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

// buildFlags replace a look at git, which the tree does not bring along.
func buildFlags(p Plan) []string {
	return []string{"-DLLAMA_BUILD_COMMIT=" + p.Source.Short, "-DLLAMA_BUILD_NUMBER=" + p.Source.BuildNumber}
}

// isDev says that a tree is no release, as llama.cpp does by default: a release
// is the tree that its own version's tag points to.
func isDev(p Plan) string {
	return "-DLLAMA_BUILD_IS_DEV=" + onOff(p.Source.Version == "" || p.Source.treeVersion != p.Source.Version)
}

// allVariants compiles the CPU backend once for each kind of machine that ggml knows.
const allVariants = "-DGGML_CPU_ALL_VARIANTS=ON"

// cpuFlags are what the CPU backend is compiled for.
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

// overridden are a part's flags without those that the user gave for all parts.
// Linker flags add up: without ours, a CUDA link ends at the driver's stub.
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

// mergeFlags sorts ours and puts the user's in place of ours of the same name.
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

// needsExamples is true for trees whose server is still among the examples.
func (p Plan) needsExamples() bool { return path.Dir(p.Source.serverDir) == "examples" }
