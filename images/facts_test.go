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
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
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
