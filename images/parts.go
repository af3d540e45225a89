package images

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Layout says into how many steps a tree can be taken apart.
type Layout string

// The layouts, from the one that reuses most.
const (
	// LayoutParts: ggml's core, each backend, llama, common, mtmd and the server
	// are compiled apart, as the trees of 2026 allow.
	LayoutParts Layout = "parts"
	// LayoutGGML: ggml's core and its backends are compiled apart from the rest.
	LayoutGGML Layout = "ggml"
	// LayoutWhole: one step compiles it all.
	LayoutWhole Layout = "whole"
)

// LendMissing stands for every target that a part has no sources of.
const LendMissing = "*"

// Part is one step of the compile: some targets of a tree, and the files that
// they are made of. A part is compiled again when those files change, or what
// its needs gave, and not otherwise. What it compiles is configured by the
// tree's own CMake files.
type Part struct {
	Name string `json:"name"`
	// Files are what the part gets to see of the tree: paths and shell patterns
	// from its top; none means all of it. An exclamation mark before one takes it out
	// again, and a tilde before a folder takes it without the sources in it.
	Files []string `json:"files,omitempty"`
	// Flags are CMake definitions beside those of all parts.
	Flags []string `json:"flags,omitempty"`
	// Targets are the CMake targets to build; none means the project's default.
	Targets []string `json:"targets,omitempty"`
	// Lent are targets that this part's own link against and that it does not
	// compile: of these the part sees CMake's description and no sources.
	// LendMissing stands for all that have none. One that a part in Needs has
	// built takes that part's library; another is a library with nothing
	// inside, which is all that linking a shared library takes.
	Lent []string `json:"lent,omitempty"`
	// Needs are the parts whose results this one links against.
	Needs []string `json:"needs,omitempty"`
	// Objects are sources, by patterns of the end of their path, whose objects are
	// all that the part gives: another part, which needs this one and has no
	// sources, links them. An exclamation mark before a path excludes it.
	Objects []string `json:"objects,omitempty"`
	// Accelerated is true for a part that is compiled in the accelerator's toolchain.
	Accelerated bool `json:"accelerated,omitempty"`
	// Link is true for the part whose executable is the server.
	Link bool `json:"link,omitempty"`
	// Programs are the executables that the part gives, or AllPrograms alone.
	Programs []string `json:"programs,omitempty"`
}

// Backend is a backend of ggml with a folder of its own.
type Backend struct {
	// Name is its part's name, and the name of its folder below ggml/src.
	Name string
	// Flag is the CMake option that compiles it.
	Flag string
}

// CPUBackend is what every image has.
var CPUBackend = Backend{Name: "ggml-cpu", Flag: "GGML_CPU"}

// The files that every part sees which configures ggml, or the whole project.
var (
	ggmlCMake = []string{"ggml/CMakeLists.txt", "ggml/cmake", "ggml/include", "ggml/src/CMakeLists.txt", "ggml/src/*.in"}
	topCMake  = slices.Concat([]string{"CMakeLists.txt", "LICENSE", "cmake", "include", "vendor"}, ggmlCMake)
	llamaAPI  = []string{"~src"}
)

// ggmlTargets are what everything links against.
var ggmlTargets = []string{"ggml-base", "ggml"}

// cpuOps are the operators of the CPU backend: half of the work that compiling
// all of its variants is, and the half that changes apart from the other.
var cpuOps = []string{"ggml-cpu/ops.cpp", "ggml-cpu/unary-ops.cpp", "ggml-cpu/binary-ops.cpp", "ggml-cpu/vec.cpp"}

// halves are two parts that compile the objects of the CPU backend, whose part is
// left to link them. A tree that keeps its operators elsewhere has an empty half.
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

// makeParts takes a tree apart. backendFlags are what only one backend has to
// know, build what names the build, dev says whether it is a release, and programs are
// those beside the server, which a tree in parts has none of.
func makeParts(layout Layout, backends []Backend, backendFlags map[string][]string, build []string, dev string, programs []string) []Part {
	// The program named llama is one that later trees build only when they are told to.
	app := "-DLLAMA_BUILD_APP=" + onOff(slices.Contains(programs, "llama") || slices.Contains(programs, AllPrograms))
	build = append(slices.Clone(build), app)
	given := append([]string{target}, programs...)
	targets := slices.Clone(given)
	for i, t := range targets {
		// The library has the target of that name (app/CMakeLists.txt).
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
		// ggml's quantisation looks into the CPU backend's headers.
		Files: slices.Concat(ggmlCMake, []string{"ggml/src", "!ggml/src/ggml-*/", "ggml/src/ggml-cpu/*.h"}),
	}}
	for _, b := range backends {
		// Of ggml's backends, the CPU's is the one that is on unless it is switched off:
		// a part that is not the accelerator's is told nothing of it, and so is the same
		// in an image without.
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
			// All but ggml's sources, and what is never compiled.
			Files: slices.Concat([]string{"*", "!ggml", "!ci", "!docs", "!gguf-py", "!media", "!models", "!tests", "!*.md"}, topCMake),
		})
	}
	// Nothing but the last part may know the commit, or each would be another
	// one with every commit.
	nameless := slices.Concat(none, []string{"-DLLAMA_BUILD_APP=OFF", "-DLLAMA_BUILD_COMMIT=unknown", "-DLLAMA_BUILD_NUMBER=0"})
	return append(parts,
		Part{
			Name: "llama", Targets: []string{"llama"}, Lent: ggmlTargets,
			Flags: slices.Concat(nameless, []string{dev, "-DLLAMA_BUILD_COMMON=OFF"}),
			Files: slices.Concat(topCMake, []string{"src"}),
		},
		Part{
			// What names the build is left out of this library: the server's part has
			// the true one.
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

// layoutOf looks at a tree's CMake files for what taking it apart relies on,
// and says in words what is missing for the best layout.
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
