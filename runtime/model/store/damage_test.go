package store

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/runtime/model/digest"
)

// tinyLlama is a real model's bytes.
func tinyLlama(t *testing.T) []byte {
	t.Helper()
	var b strings.Builder
	if err := gguf.WriteTinyLlama(&b); err != nil {
		t.Fatal(err)
	}
	return []byte(b.String())
}

func hashFile(ctx context.Context, path, name string, size int64) (string, error) {
	return digest.File(ctx, path, name, size, func(int64) {})
}

// A file that is shorter than it was, or than its header says, is not served. It is still
// listed and removed, and verify says what is wrong.
func TestDamaged(t *testing.T) {
	t.Parallel()
	tiny := tinyLlama(t)
	for name, c := range map[string]struct {
		ours bool
		cut  int64
		want string
	}{
		"ours":                     {true, int64(len(tiny)) - 1, "bytes, want"},
		"ours, longer":             {true, int64(len(tiny)) + 1, "bytes, want"},
		"another tool's, header":   {false, 300, "cut"},
		"another tool's, tensors":  {false, int64(len(tiny)) / 2, "cut"},
		"another tool's, as it is": {false, int64(len(tiny)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openTest(t)
			d := repo(s, "org/name")
			if c.ours {
				fetched(t, d, commit1, "m.gguf", tiny)
			} else {
				byAnother(t, d, commit1, "m.gguf", "etag", tiny)
			}
			if err := os.Truncate(d.File(commit1, "m.gguf"), c.cut); err != nil {
				t.Fatal(err)
			}
			_, _, ok := d.Stored(commit1, "m.gguf")
			if ok != (c.want == "") || ok != (len(d.Files(commit1)) == 1) || ok != (len(d.Damaged()) == 0) {
				t.Fatalf("stored %v, damaged %v", ok, d.Damaged())
			}
			all, err := s.List()
			if err != nil || len(all) != 1 || ok != (len(all[0].Damage) == 0) {
				t.Fatalf("%+v, %v", all, err)
			}
			wrong, err := all[0].Verify(t.Context(), hashFile)
			if err != nil || ok != (len(wrong) == 0) || !strings.Contains(strings.Join(wrong, ""), c.want) {
				t.Errorf("%q, %v", wrong, err)
			}
			if _, err := s.Remove(all[0]); err != nil || exists(all[0].Path) {
				t.Errorf("it stays: %v", err)
			}
		})
	}
}
