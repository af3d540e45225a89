package images_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
)

func TestReadTree(t *testing.T) {
	t.Parallel()
	const (
		v050 = "cmake_minimum_required(VERSION 3.14...3.28)\nproject(\"llama.cpp\" C CXX)\n" +
			"set(LLAMA_VERSION_MAJOR 0)\nset(LLAMA_VERSION_MINOR 5)\nset(LLAMA_VERSION_PATCH 0)\n"
		b5000 = "cmake_minimum_required(VERSION 3.14)\nproject(\"llama.cpp\" C CXX)\ninclude(CheckIncludeFileCXX)\n"
	)
	for name, c := range map[string]struct {
		files map[string]string
		want  *images.Tree
		why   string
	}{
		"v0.5.0": {
			files: map[string]string{"CMakeLists.txt": v050, "ggml/CMakeLists.txt": "", "tools/server/CMakeLists.txt": "", "LICENSE": "MIT"},
			want:  &images.Tree{Version: "0.5.0", ServerDir: "tools/server", Licences: []string{"LICENSE"}},
		},
		"a web UI with its lock file": {
			files: map[string]string{
				"CMakeLists.txt": v050, "ggml/CMakeLists.txt": "", "tools/server/CMakeLists.txt": "",
				"tools/ui/package-lock.json": "{}", "scripts/ui-assets.cmake": `set(SRC_DIST_DIR "${UI_SOURCE_DIR}/dist")`,
			},
			want: &images.Tree{Version: "0.5.0", ServerDir: "tools/server", UI: true, UILock: "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
		},
		"a web UI that is downloaded only": {
			files: map[string]string{
				"CMakeLists.txt": v050, "ggml/CMakeLists.txt": "", "tools/server/CMakeLists.txt": "",
				"tools/ui/package-lock.json": "{}", "scripts/ui-assets.cmake": "file(DOWNLOAD x)",
			},
			want: &images.Tree{Version: "0.5.0", ServerDir: "tools/server"},
		},
		"a web UI among the server's sources": {
			files: map[string]string{
				"CMakeLists.txt": b5000, "ggml/CMakeLists.txt": "",
				"tools/server/CMakeLists.txt": "set(PUBLIC_ASSETS\n    index.html.gz\n    loading.html\n)\n",
			},
			want: &images.Tree{ServerDir: "tools/server", UIInside: true},
		},
		"b5000, the server among the examples": {
			files: map[string]string{"CMakeLists.txt": b5000, "ggml/CMakeLists.txt": "", "examples/server/CMakeLists.txt": "", "LICENSE": "MIT"},
			want:  &images.Tree{ServerDir: "examples/server", Licences: []string{"LICENSE"}},
		},
		"both folders: the newer place counts": {
			files: map[string]string{"CMakeLists.txt": b5000, "ggml/CMakeLists.txt": "", "examples/server/CMakeLists.txt": "", "tools/server/CMakeLists.txt": ""},
			want:  &images.Tree{ServerDir: "tools/server"},
		},
		"a version in part is none": {
			files: map[string]string{"CMakeLists.txt": "PROJECT( llama.cpp )\nset(LLAMA_VERSION_MAJOR 1)\n", "ggml/CMakeLists.txt": "", "tools/server/CMakeLists.txt": ""},
			want:  &images.Tree{ServerDir: "tools/server"},
		},
		"empty":            {files: map[string]string{"LICENSE": ""}, why: "it has no CMakeLists.txt at its top"},
		"another project":  {files: map[string]string{"CMakeLists.txt": "project(whisper.cpp)", "ggml/CMakeLists.txt": ""}, why: `does not declare the project "llama.cpp"`},
		"ggml, not llama":  {files: map[string]string{"CMakeLists.txt": "project(\"ggml\" C)\n# of llama.cpp\n"}, why: `does not declare the project "llama.cpp"`},
		"before ggml/":     {files: map[string]string{"CMakeLists.txt": b5000, "examples/server/CMakeLists.txt": ""}, why: "it has no ggml/CMakeLists.txt"},
		"without a server": {files: map[string]string{"CMakeLists.txt": b5000, "ggml/CMakeLists.txt": ""}, why: "it has no server in tools/server or examples/server"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string][]byte{}
			for n, text := range c.files {
				files[n] = []byte(text)
			}
			got, err := images.ReadTree(files)
			if c.why != "" {
				if fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), c.why) {
					t.Errorf("got %v (class %d), want a usage fault with %q", err, fault.ClassOf(err), c.why)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// How it can be taken apart is a test of its own.
			got.Layout, got.LayoutWhy = "", ""
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLayouts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change map[string]string
		want   images.Layout
		why    string
	}{
		"as in v0.5.0":              {nil, images.LayoutParts, ""},
		"build info within common":  {map[string]string{"common/CMakeLists.txt": "add_library(common STATIC)"}, images.LayoutGGML, "its common/CMakeLists.txt has no llama-common-base"},
		"no mtmd by itself":         {map[string]string{"CMakeLists.txt": `project("llama.cpp" C CXX)`}, images.LayoutGGML, "its CMakeLists.txt has no LLAMA_BUILD_MTMD"},
		"no tools":                  {map[string]string{"tools/CMakeLists.txt": ""}, images.LayoutGGML, "it has no tools/CMakeLists.txt"},
		"the CPU backend elsewhere": {map[string]string{"ggml/src/ggml-cpu/CMakeLists.txt": ""}, images.LayoutWhole, "it has no ggml/src/ggml-cpu/CMakeLists.txt"},
		"ggml in one library":       {map[string]string{"ggml/src/CMakeLists.txt": "add_library(ggml ggml.c)"}, images.LayoutWhole, "its ggml/src/CMakeLists.txt has no add_library"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string][]byte{
				"CMakeLists.txt":                   []byte("project(\"llama.cpp\" C CXX)\noption(LLAMA_BUILD_MTMD \"\" OFF)"),
				"ggml/CMakeLists.txt":              []byte("project(ggml)"),
				"ggml/src/CMakeLists.txt":          []byte("add_library(ggml-base\n  ggml.c)"),
				"ggml/src/ggml-cpu/CMakeLists.txt": []byte("function(x)"),
				"src/CMakeLists.txt":               []byte("add_library(llama llama.cpp)"),
				"common/CMakeLists.txt":            []byte("set(TARGET llama-common-base)"),
				"vendor/CMakeLists.txt":            []byte("add_subdirectory(hash)"),
				"tools/CMakeLists.txt":             []byte("add_subdirectory(server)"),
				"tools/mtmd/CMakeLists.txt":        []byte("add_library(mtmd)"),
				"tools/server/CMakeLists.txt":      []byte("add_executable(llama-server)"),
			}
			for n, text := range c.change {
				if files[n] = []byte(text); text == "" {
					delete(files, n)
				}
			}
			got, err := images.ReadTree(files)
			if err != nil {
				t.Fatal(err)
			}
			if got.Layout != c.want || !strings.Contains(got.LayoutWhy, c.why) || (c.why == "") != (got.LayoutWhy == "") {
				t.Errorf("got %s, %q; want %s, %q", got.Layout, got.LayoutWhy, c.want, c.why)
			}
		})
	}
}

func TestSourceNames(t *testing.T) {
	t.Parallel()
	const commit = "de3ff81aaaabbbbccccddddeeeeffff000011112"
	tree := &images.Tree{Version: "0.5.0"}
	for name, c := range map[string]struct {
		f                     images.SourceFacts
		number, short, verson string
	}{
		"a release":                 {images.SourceFacts{Commit: commit, Tag: "v0.5.0", Tree: tree, Depth: 9000}, "9000", "de3ff81", "0.5.0"},
		"a build tag":               {images.SourceFacts{Commit: commit, Tag: "b5000", Depth: 1}, "5000", "de3ff81", "b5000"},
		"a tag that only starts so": {images.SourceFacts{Commit: commit, Tag: "b5000-fix"}, "0", "de3ff81", "b5000-fix"},
		"no tag":                    {images.SourceFacts{Commit: commit, Tree: tree}, "0", "de3ff81", "0.5.0+de3ff81"},
		"no tag, no version":        {images.SourceFacts{Commit: commit, Tree: &images.Tree{}}, "0", "de3ff81", "de3ff81"},
		"one commit says nothing":   {images.SourceFacts{Commit: commit, Depth: 1}, "0", "de3ff81", "de3ff81"},
		"dirty is not the tag":      {images.SourceFacts{Commit: commit, Tag: "v0.5.0", Dirty: true, Tree: tree}, "0", "de3ff81-dirty", "0.5.0+de3ff81-dirty"},
		"nothing yet":               {images.SourceFacts{}, "0", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := c.f.BuildNumber(); got != c.number {
				t.Errorf("build number %q, want %q", got, c.number)
			}
			if got := c.f.Short(); got != c.short {
				t.Errorf("short %q, want %q", got, c.short)
			}
			if got := c.f.Version(); got != c.verson {
				t.Errorf("version %q, want %q", got, c.verson)
			}
		})
	}
}
