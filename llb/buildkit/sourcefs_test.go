package buildkit

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSourceFS holds that what git ignores is not sent, and nothing else is left
// out: neither its neighbours nor names that look like a pattern.
func TestSourceFS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"a.c", "build/x.o", "models/[1].gguf", "models/1.gguf", "z.c"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	src, err := sourceFS(dir, []string{"build", "models/[1].gguf"})
	if err != nil {
		t.Fatal(err)
	}
	var sent []string
	err = src.Walk(context.Background(), "", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			sent = append(sent, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a.c", "models/1.gguf", "z.c"}, sent); diff != "" {
		t.Error(diff)
	}
}
