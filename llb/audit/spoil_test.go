package audit_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/llorch/llorch-bk/fixtures/published"
	"github.com/llorch/llorch-bk/llb/audit"
)

// open reads a layout again.
func open(t *testing.T, dir string) *audit.Image {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	img, err := audit.Layout(index, published.Platform)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// blobFile is where a layout has a blob.
func blobFile(dir string, h v1.Hash) string { return filepath.Join(dir, "blobs", h.Algorithm, h.Hex) }

// rewrite changes a file in place.
func rewrite(t *testing.T, file string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, change(bytes.Clone(data)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replaced replaces text that must be there.
func replaced(t *testing.T, old, now string) func([]byte) []byte {
	return func(data []byte) []byte {
		t.Helper()
		if !strings.Contains(string(data), old) {
			t.Fatalf("no %q in %s", old, data)
		}
		return []byte(strings.Replace(string(data), old, now, 1))
	}
}
