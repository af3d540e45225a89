package runtime_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The flags of the command line are read from where they are declared, so that a new
// one counts at once.
var declared = regexp.MustCompile(`(?:Var|VarP)\([^"\n]*"([a-z][a-z-]*)"`)

// otherPrograms are options of programs that are run, which happen to be called as
// flags of ours are.
var otherPrograms = []string{"--format=csv,noheader,nounits"} // nvidia-smi's

// Below cmd nobody knows how a setting was given: errors name the setting.
func TestNoFlagNamesBelowTheCommandLine(t *testing.T) {
	t.Parallel()
	flags := map[string]bool{"help": true}
	sources, err := filepath.Glob("../cmd/llorch-bk/*.go")
	if err != nil || len(sources) == 0 {
		t.Fatal(sources, err)
	}
	for _, f := range sources {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			flags[m[1]] = true
		}
	}
	for _, known := range []string{"listen", "port", "allow-cpu", "variant", "handoff-dir", "yes", "dry-run", "file"} {
		if !flags[known] {
			t.Fatalf("the flag %s was not found among %d", known, len(flags))
		}
	}
	word := regexp.MustCompile(`--([a-z][a-z-]*)`)
	for _, room := range []string{".", "../images"} {
		err := filepath.WalkDir(room, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			for _, text := range literals(t, path) {
				for _, m := range word.FindAllStringSubmatch(text, -1) {
					if flags[m[1]] && !slices.Contains(otherPrograms, text) {
						t.Errorf("%s names the flag --%s in %q", path, m[1], text)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// literals are the strings of a source.
func literals(t *testing.T, path string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
			if text, err := strconv.Unquote(l.Value); err == nil {
				out = append(out, text)
			}
		}
		return true
	})
	return out
}

// What runs things sees no type of an engine's client: in the room that brings both
// halves together, only what builds does.
func TestOnlyWhatBuildsSeesDocker(t *testing.T) {
	t.Parallel()
	builds := []string{
		"engine.go", "build.go", "localbase.go", "builder.go", "built.go", "lock.go", "verify.go", "setup.go",
		"bundle.go", "fill.go", "keep.go", "platforms.go",
		"prune.go", // which goes with the builder's containers
	}
	files, err := filepath.Glob("../cmd/internal/app/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		name := filepath.Base(path)
		if strings.HasSuffix(name, "_test.go") || slices.Contains(builds, name) {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if strings.HasPrefix(i.Path.Value, `"github.com/docker/docker/`) {
				t.Errorf("%s imports %s", name, i.Path.Value)
			}
		}
	}
}
