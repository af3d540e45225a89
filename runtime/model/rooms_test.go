package model_test

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestRooms holds that each room imports no more of ours than README.md says.
func TestRooms(t *testing.T) {
	t.Parallel()
	const module = "github.com/llorch/llorch-bk/"
	for room, may := range map[string][]string{
		"digest":   nil,
		"disk":     nil,
		"gguf":     nil,
		"ref":      {"digest"},
		"store":    {"ref", "gguf", "digest", "disk"},
		"transfer": {"gguf", "digest", "disk"},
		"hub":      {"ref", "gguf", "digest", "transfer"},
		"registry": {"ref", "gguf", "digest", "transfer"},
		"caches":   {"ref", "digest"},
		"mirror":   {"store", "ref", "gguf", "digest"},
	} {
		files, err := filepath.Glob(room + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has no files: %v", room, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range parsed.Imports {
				path, err := strconv.Unquote(i.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				ours, ok := strings.CutPrefix(path, module)
				if ok && ours != "images/fault" && !slices.Contains(may, strings.TrimPrefix(ours, "runtime/model/")) {
					t.Errorf("%s imports %s", file, ours)
				}
			}
		}
	}
}
