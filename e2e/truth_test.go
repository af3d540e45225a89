package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
	"github.com/llorch/llorch-bk/images"
)

// marked is a server source with a text in it that can be found in the program.
func marked(t *testing.T, mark string) map[string]string {
	t.Helper()
	return map[string]string{"tools/server/main.c": edited(t, "tools/server/main.c", "") +
		"__attribute__((used)) static const char e2e_mark[] = \"E2E-" + mark + "-MARK\";\n"}
}

// imageFiles are the bytes of a folder in an image.
func imageFiles(t *testing.T, p *project, tag, dir string) []byte {
	t.Helper()
	c, err := p.api.ContainerCreate(t.Context(), &container.Config{Image: tag}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	defer p.api.ContainerRemove(t.Context(), c.ID, container.RemoveOptions{Force: true})
	r, _, err := p.api.CopyFromContainer(t.Context(), c.ID, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// label is the value of an image's label.
func label(t *testing.T, p *project, tag, name string) string {
	t.Helper()
	img, err := p.api.ImageInspect(t.Context(), tag)
	if err != nil {
		t.Fatal(err)
	}
	return img.Config.Labels[name]
}

// rounds is the number of repetitions of races: LLORCH_ROUNDS, or a few.
func rounds(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("LLORCH_ROUNDS"))
	if err != nil {
		return 3
	}
	return n
}

// TestFixtureSourcesAtOnce checks that each of two concurrent builds contains its own files,
// whatever the other one sends: on the engine's own BuildKit and on a separate one. All files
// have the same sizes and times in every round.
func TestFixtureSourcesAtOnce(t *testing.T) {
	p := fixture(t)
	d := standalone(t)
	for name, where := range map[string][]string{"engine": nil, "standalone": {"--builder", d.Addr}} {
		t.Run(name, func(t *testing.T) {
			repos := []*gitrepo.Repo{gitrepo.New(t, tinyengine.Tree()), gitrepo.New(t, tinyengine.Tree())}
			var tags []string
			for i := range repos {
				tags = append(tags, fmt.Sprintf("llorch-e2e:at-once-%s-%d", name, i))
			}
			t.Cleanup(func() { removeImages(t, p.api, tags...) })
			for round := range rounds(t) {
				var builds []*started
				for i, repo := range repos {
					files := marked(t, fmt.Sprintf("%d-%03d", i, round))
					repo.Commit("round", files)
					old := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
					for file := range files {
						if err := os.Chtimes(filepath.Join(repo.Dir, file), old, old); err != nil {
							t.Fatal(err)
						}
					}
				}
				for i, repo := range repos {
					args := append([]string{"build", "--source", repo.Dir, "--no-ui", "--cpu", "x86-64-v1", "--tag", tags[i]}, where...)
					builds = append(builds, p.start(args...))
					// Now and then one is well on its way when the other begins.
					time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
				}
				for i, b := range builds {
					if r := b.wait(); r.code != 0 {
						t.Fatalf("%s", r)
					}
					want := fmt.Sprintf("E2E-%d-%03d-MARK", i, round)
					if data := imageFiles(t, p, tags[i], images.Server); !bytes.Contains(data, []byte(want)) {
						at := bytes.Index(data, []byte("E2E-"))
						t.Fatalf("round %d: %s holds %q, want %s", round, tags[i], data[max(at, 0):max(at, 0)+20], want)
					}
					if got := label(t, p, tags[i], images.LabelCommit); got != repos[i].Head() {
						t.Errorf("round %d: %s says it is of %s, and is of %s", round, tags[i], got, repos[i].Head())
					}
				}
			}
		})
	}
}

// TestFixtureHeaderThatAppears checks that the compiler cache does not reuse an object after a
// header appeared that its source looks for.
func TestFixtureHeaderThatAppears(t *testing.T) {
	p := fixture(t)
	const tag = "llorch-e2e:header"
	t.Cleanup(func() { removeImages(t, p.api, tag) })
	repo := gitrepo.New(t, tinyengine.Tree())
	repo.Commit("look for it", map[string]string{"tools/server/main.c": edited(t, "tools/server/main.c", "") + `
#if __has_include("e2e-extra.h")
#include "e2e-extra.h"
#else
#define E2E "E2E-without-MARK"
#endif
__attribute__((used)) static const char e2e_mark[] = E2E;
`})
	build := func(want string) {
		t.Helper()
		p.must("build", "--source", repo.Dir, "--no-ui", "--cpu", "x86-64-v1", "--tag", tag)
		if !bytes.Contains(imageFiles(t, p, tag, images.Server), []byte(want)) {
			t.Errorf("the server has no %s", want)
		}
	}
	build("E2E-without-MARK")
	repo.Commit("here it is", map[string]string{"tools/server/e2e-extra.h": "#define E2E \"E2E-with-MARK\"\n"})
	build("E2E-with-MARK")
}

// TestFixtureEmbeddedFile checks the same for a file that the assembler embeds, which the
// preprocessor does not see.
func TestFixtureEmbeddedFile(t *testing.T) {
	p := fixture(t)
	const tag = "llorch-e2e:embedded"
	t.Cleanup(func() { removeImages(t, p.api, tag) })
	repo := gitrepo.New(t, broken(t, map[string]string{
		"tools/server/main.c": edited(t, "tools/server/main.c", "") +
			"__asm__(\".section .rodata\\n.incbin \\\"/src/tools/server/page.bin\\\"\\n.text\\n\");\n",
		"tools/server/page.bin": "E2E-first-MARK",
	}))
	for _, mark := range []string{"E2E-first-MARK", "E2E-other-MARK"} {
		repo.Commit("embed "+mark, map[string]string{"tools/server/page.bin": mark, "README.md": mark})
		p.must("build", "--source", repo.Dir, "--no-ui", "--cpu", "x86-64-v1", "--tag", tag)
		if !bytes.Contains(imageFiles(t, p, tag, images.Server), []byte(mark)) {
			t.Errorf("the server has no %s", mark)
		}
	}
}

// TestFixtureOtherCompiler checks that gcc compiles a source that clang refuses, and that the
// build reports it, also if the step is cached.
func TestFixtureOtherCompiler(t *testing.T) {
	p := fixture(t)
	const tag = "llorch-e2e:other-compiler"
	t.Cleanup(func() { removeImages(t, p.api, tag) })
	repo := gitrepo.New(t, broken(t, map[string]string{
		// A function inside a function is gcc's own.
		"tools/mtmd/mtmd.c": edited(t, "tools/mtmd/mtmd.c", "") + "int e2e_outer(void) { int inner(void) { return 1; } return inner(); }\n",
	}))
	metadata := filepath.Join(p.dir, "metadata.json")
	for _, when := range []string{"compiled", "cached"} {
		r := p.must("build", "--source", repo.Dir, "--no-ui", "--cpu", "x86-64-v1", "--tag", tag, "--metadata-file", metadata)
		var built struct{ Notes []string }
		data, err := os.ReadFile(metadata)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &built); err != nil {
			t.Fatal(err)
		}
		const want = "clang does not compile tools/mtmd/mtmd.c"
		if len(built.Notes) != 1 || !strings.Contains(built.Notes[0], want) || !strings.Contains(r.stderr, want) {
			t.Errorf("%s: noted %q; said:\n%s", when, built.Notes, r.stderr)
		}
	}
}

// TestFixtureForks checks that a tree with additional files, or files at other paths, is built
// completely: in steps if that suffices, otherwise in one step.
func TestFixtureForks(t *testing.T) {
	p := fixture(t)
	builder := standalone(t)
	read := func(name, from, to string) string {
		t.Helper()
		text := edited(t, name, "")
		if !strings.Contains(text, from) {
			t.Fatalf("%s has no %q", name, from)
		}
		// CMake has another comment.
		text = strings.TrimSuffix(text, "\n// \n")
		return strings.Replace(text, from, to, 1)
	}
	const cmake, server = "tools/server/CMakeLists.txt", "add_library(llama-server-impl "
	for name, c := range map[string]struct {
		files  map[string]string
		layout images.Layout
	}{
		"a source in a folder of its own": {map[string]string{
			cmake: read(cmake, server, server+"routes/two.c "), "tools/server/routes/two.c": "int e2e_two(void) { return 2; }\n",
		}, images.LayoutParts},
		"a source of another's folder": {map[string]string{
			cmake: read(cmake, server, server+"../../extra/two.c "), "extra/two.c": "int e2e_two(void) { return 2; }\n",
		}, images.LayoutWhole},
		"a library that registers itself": {map[string]string{
			"tools/CMakeLists.txt":       read("tools/CMakeLists.txt", "add_subdirectory(server)", "add_subdirectory(extra)\n    add_subdirectory(server)"),
			"tools/extra/CMakeLists.txt": "add_library(e2e-extra SHARED extra.c)\n",
			"tools/extra/extra.c":        "int e2e_extra = 42;\n",
			cmake:                        read(cmake, "PRIVATE llama-server-impl)", "PRIVATE llama-server-impl -Wl,--no-as-needed e2e-extra)"),
		}, images.LayoutWhole},
	} {
		t.Run(name, func(t *testing.T) {
			const tag = "llorch-e2e:fork"
			t.Cleanup(func() { removeImages(t, p.api, tag) })
			repo := gitrepo.New(t, broken(t, c.files))
			r := p.must("build", "--builder", builder.Addr, "--source", repo.Dir, "--no-ui", "--cpu", "x86-64-v1", "--tag", tag)
			if got := label(t, p, tag, images.LabelLayout); got != string(c.layout) {
				t.Errorf("the layout is %s, want %s", got, c.layout)
			}
			if said := strings.Contains(r.stderr, "is compiled in one step, since"); said != (c.layout == images.LayoutWhole) {
				t.Errorf("said so: %v\n%s", said, r.stderr)
			}
			p.must("run", tag, "--model", p.model())
		})
	}
}

// TestFixturePrograms checks that the image has programs other than the server if they were
// requested, and only then.
func TestFixturePrograms(t *testing.T) {
	p := fixture(t)
	const tag = "llorch-e2e:programs"
	t.Cleanup(func() { removeImages(t, p.api, tag) })
	repo := gitrepo.New(t, broken(t, map[string]string{
		"tools/server/CMakeLists.txt": strings.TrimSuffix(edited(t, "tools/server/CMakeLists.txt", ""), "\n// \n") +
			"add_executable(llama-tiny tiny.c)\ntarget_link_libraries(llama-tiny PRIVATE llama)\n",
		"tools/server/tiny.c": "int main(void) { return 0; }\n",
	}))
	for _, c := range []struct{ ask, want []string }{
		{nil, []string{"llama-server"}},
		{[]string{"--programs", "llama-tiny"}, []string{"llama-server", "llama-tiny"}},
		{[]string{"--programs", "all"}, []string{"llama-server", "llama-tiny"}},
	} {
		p.must(append([]string{"build", "--source", repo.Dir, "--no-ui", "--cpu", "x86-64-v1", "--tag", tag}, c.ask...)...)
		var got []string
		for _, name := range []string{"llama-server", "llama-tiny"} {
			// A name in the archive of a folder is a file in it.
			if bytes.Contains(imageFiles(t, p, tag, images.AppDir), []byte("app/"+name+"\x00")) {
				got = append(got, name)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: the image has %q, want %q", c.ask, got, c.want)
		}
	}
	if r := p.run("build", "--source", repo.Dir, "--no-ui", "--cpu", "x86-64-v1", "--tag", tag, "--programs", "llama-none"); r.code != 4 {
		t.Errorf("a program that the tree does not have: %s", r)
	}
}
