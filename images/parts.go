package images

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Layout says into how many compile steps a tree can be split.
type Layout string

// The layouts, from the one with the most reuse of cached steps to the least.
const (
	// LayoutParts: ggml's core, each backend, llama, common, mtmd and the server
	// are compiled separately. Trees of 2026 allow this.
	LayoutParts Layout = "parts"
	// LayoutGGML: ggml's core and its backends are compiled separately from the rest.
	LayoutGGML Layout = "ggml"
	// LayoutWhole: one step compiles everything.
	LayoutWhole Layout = "whole"
)

// LendMissing in Part.Lent stands for every target whose sources the part does not have.
const LendMissing = "*"

// Part is one step of the compile: some targets of a tree and the files that they are
// made from. A part is compiled again only if those files or the results of its Needs
// change. The tree's own CMake files configure it.
type Part struct {
	Name string `json:"name"`
	// Files are the part's files of the tree: paths and shell patterns from the tree's
	// top; none means the whole tree. "!" before a pattern excludes files. "~" before a
	// folder takes it without its source files.
	Files []string `json:"files,omitempty"`
	// Flags are CMake definitions in addition to PlanCMake.Flags.
	Flags []string `json:"flags,omitempty"`
	// Targets are the CMake targets to build; none means the default target.
	Targets []string `json:"targets,omitempty"`
	// Lent are targets that the part links against but does not compile. The part has
	// their CMake description and not their sources. LendMissing stands for all targets
	// without sources. If a part in Needs built the target, its library is linked;
	// otherwise an empty library, which suffices for linking a shared library.
	Lent []string `json:"lent,omitempty"`
	// Needs are the parts whose results this part links against.
	Needs []string `json:"needs,omitempty"`
	// Objects are sources, as patterns for the end of their path. If it is set, their
	// objects are the part's only result. Another part, which lists this one in Needs and
	// has no sources of its own, links them. "!" before a pattern excludes sources.
	Objects []string `json:"objects,omitempty"`
	// Accelerated is true if the part is compiled in the accelerator's toolchain.
	Accelerated bool `json:"accelerated,omitempty"`
	// Link is true for the part that links the server.
	Link bool `json:"link,omitempty"`
	// Programs are the executables that the part builds, or only AllPrograms.
	Programs []string `json:"programs,omitempty"`
}

// Backend is a ggml backend in a folder of its own.
type Backend struct {
	// Name is the name of its part and of its folder below ggml/src.
	Name string
	// Flag is the CMake option that enables it.
	Flag string
}

// CPUBackend is the backend that every image has.
var CPUBackend = Backend{Name: "ggml-cpu", Flag: "GGML_CPU"}

// The files of every part that configures ggml, or the whole project.
var (
	ggmlCMake = []string{"ggml/CMakeLists.txt", "ggml/cmake", "ggml/include", "ggml/src/CMakeLists.txt", "ggml/src/*.in"}
	topCMake  = slices.Concat([]string{"CMakeLists.txt", "LICENSE", "cmake", "include", "vendor"}, ggmlCMake)
	llamaAPI  = []string{"~src"}
)

// ggmlTargets are the targets that everything links against.
var ggmlTargets = []string{"ggml-base", "ggml"}

// cpuOps are the operators of the CPU backend. They are half of the work of compiling its
// variants, and they change independently of the other half.
var cpuOps = []string{"ggml-cpu/ops.cpp", "ggml-cpu/unary-ops.cpp", "ggml-cpu/binary-ops.cpp", "ggml-cpu/vec.cpp"}

// halves returns two parts that compile the objects of the CPU backend; the backend's own
// part then only links them. In a tree with its operators elsewhere, one half is empty.
func halves(part *Part) []Part {
	const dir = "ggml/src/ggml-cpu/"
	cmake := slices.Concat(ggmlCMake, []string{dir + "CMakeLists.txt", dir + "cmake"})
	ops, rest := *part, *part
	ops.Name, rest.Name = part.Name+"-ops", part.Name+"-kernels"
	ops.Files = slices.Concat(cmake, []string{"ggml/src/*.h", dir + "*.h", dir + "*/*.h"})
	ops.Objects, rest.Files, rest.Objects = cpuOps, slices.Clone(part.Files), []string{"ggml-cpu/*"}
	for _, f := range cpuOps {
		ops.Files = append(ops.Files, "ggml/src/"+f)
		rest.Files, rest.Objects = append(rest.Files, "!ggml/src/"+f), append(rest.Objects, "!"+f)
	}
	part.Files, part.Needs = cmake, []string{ops.Name, rest.Name}
	return []Part{ops, rest}
}

// makeParts splits a tree into parts. backendFlags are definitions for single backends,
// build has the commit, dev says whether the tree is a release, and programs are the ones
// besides the server, which need LayoutGGML or LayoutWhole.
func makeParts(layout Layout, backends []Backend, backendFlags map[string][]string, build []string, dev string, programs []string) []Part {
	// Later trees build the program named llama only on request.
	app := "-DLLAMA_BUILD_APP=" + onOff(slices.Contains(programs, "llama") || slices.Contains(programs, AllPrograms))
	build = append(slices.Clone(build), app)
	given := append([]string{target}, programs...)
	targets := slices.Clone(given)
	for i, t := range targets {
		// In CMake, the library has the name llama (app/CMakeLists.txt).
		if t == "llama" {
			targets[i] = "llama-app"
		}
	}
	if slices.Contains(programs, AllPrograms) {
		targets, given = nil, programs
	}
	if layout != LayoutParts && layout != LayoutGGML {
		flags := append(slices.Clone(build), dev)
		for _, b := range backends {
			flags = append(append(flags, "-D"+b.Flag+"=ON"), backendFlags[b.Name]...)
		}
		return []Part{{Name: target, Flags: flags, Targets: targets, Programs: given, Accelerated: len(backends) > 1, Link: true}}
	}
	none := []string{"-D" + CPUBackend.Flag + "=OFF"}
	parts := []Part{{
		Name: "ggml", Targets: ggmlTargets, Flags: none,
		// ggml's quantisation code includes headers of the CPU backend.
		Files: slices.Concat(ggmlCMake, []string{"ggml/src", "!ggml/src/ggml-*/", "ggml/src/ggml-cpu/*.h"}),
	}}
	for _, b := range backends {
		// The CPU backend is the only one that is on by default. Other parts switch it off.
		// No part has flags of an accelerator that it does not compile, so that its key is
		// the same in an image without one.
		flags := []string{"-D" + b.Flag + "=ON"}
		if b != CPUBackend {
			flags = append(flags, none...)
		}
		part := Part{
			Name: b.Name, Lent: ggmlTargets, Accelerated: b != CPUBackend, Flags: append(flags, backendFlags[b.Name]...),
			Files: slices.Concat(ggmlCMake, []string{"ggml/src/*.h", "ggml/src/" + b.Name, "ggml/src/ggml-cpu/*.h"}),
		}
		if b == CPUBackend && slices.Contains(part.Flags, allVariants) {
			parts = append(parts, halves(&part)...)
		}
		parts = append(parts, part)
	}
	if layout == LayoutGGML {
		return append(parts, Part{
			Name: target, Targets: targets, Programs: given, Flags: slices.Concat(none, build, []string{dev}), Lent: ggmlTargets, Needs: []string{"ggml"}, Link: true,
			// Everything except ggml's sources and files that are never compiled.
			Files: slices.Concat([]string{"*", "!ggml", "!ci", "!docs", "!gguf-py", "!media", "!models", "!tests", "!*.md"}, topCMake),
		})
	}
	// Only the last part may know the commit. Otherwise every commit would change the
	// keys of all parts.
	nameless := slices.Concat(none, []string{"-DLLAMA_BUILD_APP=OFF", "-DLLAMA_BUILD_COMMIT=unknown", "-DLLAMA_BUILD_NUMBER=0"})
	return append(parts,
		Part{
			Name: "llama", Targets: []string{"llama"}, Lent: ggmlTargets,
			Flags: slices.Concat(nameless, []string{dev, "-DLLAMA_BUILD_COMMON=OFF"}),
			Files: slices.Concat(topCMake, []string{"src"}),
		},
		Part{
			// This library gets a placeholder for the build's name; the server's part has
			// the real one.
			Name: "common", Targets: []string{"llama-common"}, Lent: slices.Concat(ggmlTargets, []string{"llama", "llama-common-base"}),
			Flags: slices.Concat(nameless, []string{"-DLLAMA_BUILD_TOOLS=OFF"}),
			Files: slices.Concat(topCMake, llamaAPI, []string{"common"}),
		},
		Part{
			Name: "mtmd", Targets: []string{"mtmd"}, Lent: slices.Concat(ggmlTargets, []string{"llama"}),
			Flags: slices.Concat(nameless, []string{"-DLLAMA_BUILD_COMMON=OFF", "-DLLAMA_BUILD_MTMD=ON", "-DLLAMA_BUILD_TOOLS=OFF"}),
			Files: slices.Concat(topCMake, llamaAPI, []string{"tools/mtmd"}),
		},
		Part{
			Name: target, Targets: targets, Programs: given, Link: true,
			Flags: slices.Concat(none, build),
			Files: slices.Concat(topCMake, llamaAPI, []string{
				"~common", "common/build-info.*", "tools/CMakeLists.txt", "tools/*/CMakeLists.txt",
				"tools/server", "!tools/server/bench", "!tools/server/tests", "!tools/server/*.md", "~tools/mtmd",
				"tools/ui/*.in", "tools/ui/*.cmake", "tools/ui/*.cpp", "scripts/ui-assets.cmake", "licenses",
			}),
			Lent:  []string{"cpp-httplib", LendMissing},
			Needs: []string{"ggml", "llama", "common", "mtmd"},
		},
	)
}

var (
	hasCore   = regexp.MustCompile(`add_library\s*\(\s*ggml-base\b`)
	hasLlama  = regexp.MustCompile(`add_library\s*\(\s*llama\b`)
	hasCommon = regexp.MustCompile(`\bllama-common-base\b`)
	hasMTMD   = regexp.MustCompile(`\bLLAMA_BUILD_MTMD\b`)
)

// layoutOf finds the finest layout for a tree in its CMake files, and says what is missing
// for a finer one.
func layoutOf(files map[string][]byte) (Layout, string) {
	lacks := func(name string, mark *regexp.Regexp) string {
		switch text, ok := files[name]; {
		case !ok:
			return "it has no " + name
		case mark != nil && !mark.Match(text):
			return fmt.Sprintf("its %s has no %s", name, strings.Trim(mark.String(), `\b`))
		}
		return ""
	}
	first := func(whys ...string) string {
		for _, w := range whys {
			if w != "" {
				return w
			}
		}
		return ""
	}
	if why := first(lacks("ggml/src/CMakeLists.txt", hasCore), lacks("ggml/src/ggml-cpu/CMakeLists.txt", nil)); why != "" {
		return LayoutWhole, why
	}
	if why := first(
		lacks("CMakeLists.txt", hasMTMD), lacks("src/CMakeLists.txt", hasLlama), lacks("common/CMakeLists.txt", hasCommon),
		lacks("vendor/CMakeLists.txt", nil), lacks("tools/CMakeLists.txt", nil), lacks("tools/mtmd/CMakeLists.txt", nil),
	); why != "" {
		return LayoutGGML, why
	}
	return LayoutParts, ""
}
