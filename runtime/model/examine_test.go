package model

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
)

func TestExamineLocal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, c := range map[string]struct {
		body []byte
		// want is a part of the report, empty for a model that may be served.
		want string
	}{
		"good.gguf":      {aGGUF(t), ""},
		"cut.gguf":       {aGGUF(t)[:5000], "the file is cut"},
		"random.gguf":    {aModel(5000, 1), "at byte 8"},
		"page.gguf":      {[]byte("<!DOCTYPE html><html>"), "HTML page"},
		"projector.gguf": {aGGUF(t, ggufType("mmproj")), "a projector"},
		"lora.gguf":      {aGGUF(t, ggufType("adapter")), "an adapter"},
		"part.gguf":      {aPart(t, 0, 2), "number 1 of 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, c.body, 0o600); err != nil {
				t.Fatal(err)
			}
			err := Local{Ref: parse(t, path), Path: path}.Examine()
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantFault(t, err, fault.Model, path, c.want)
		})
	}
}
