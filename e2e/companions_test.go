package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	parser "github.com/gpustack/gguf-parser-go"
	"github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/fixtures/hub"
	"github.com/llorch/llorch-bk/runtime/handoff"
)

// TestRealCompanions gives the real server, by up alone, a projector that comes with the
// model's repository, the model as its own draft, and an adapter that changes what it says.
func TestRealCompanions(t *testing.T) {
	gate(t, "LLORCH_E2E_REAL", "real")
	p := newProject(t)
	file := realModel(t, p)
	shape, err := parser.ParseGGUFFile(file)
	if err != nil {
		t.Fatal(err)
	}
	arch := shape.Architecture()
	source := realSource(t)
	up := func(args ...string) handoff.Handoff {
		t.Helper()
		p.must(slices.Concat([]string{"up", "--cpu", "native"}, source, args)...)
		h, ok := p.handoff("default")
		if !ok {
			t.Fatal("there is no handoff")
		}
		return h
	}
	prompt, want := "Once upon a time", ""
	if k, ok := known[filepath.Base(file)]; ok {
		prompt, want = k.prompt, k.completion
	}
	says := func(h handoff.Handoff) string {
		t.Helper()
		code, body := answer(t, http.MethodPost, h.URL+"/completion", map[string]any{"prompt": prompt, "n_predict": 24, "temperature": 0})
		var got struct{ Content string }
		if err := json.Unmarshal([]byte(body), &got); err != nil || code != http.StatusOK {
			t.Fatalf("/completion: %d %s", code, body)
		}
		return got.Content
	}

	t.Run("a projector", func(t *testing.T) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		repo := hub.New(t)
		repo.Add("org/eye", "eye-Q8_0.gguf", content)
		repo.Add("org/eye", "mmproj-eye-f16.gguf", written(t, func(w io.Writer) error { return gguf.WriteProjector(w, int(arch.EmbeddingLength)) }))
		p.setenv("HF_ENDPOINT", repo.Endpoint())
		p.setenv("HF_HUB_CACHE", t.TempDir())
		h := up("--model", "hf:org/eye:Q8_0", "--", "--ctx-size", "256")
		companion(t, h, "mmproj")
		code, body := answer(t, http.MethodPost, h.URL+"/v1/chat/completions", map[string]any{
			"max_tokens": 4, "temperature": 0,
			"messages": []any{map[string]any{"role": "user", "content": []any{
				map[string]any{"type": "text", "text": "a"},
				map[string]any{"type": "image_url", "image_url": map[string]any{"url": "data:image/png;base64," + picture(t)}},
			}}},
		})
		if code != http.StatusOK || !strings.Contains(body, `"choices"`) {
			t.Errorf("an image: %d %s", code, body)
		}
		if ls := p.must("model", "ls").stdout; !strings.Contains(ls, "+ mmproj") {
			t.Errorf("the list does not show the projector:\n%s", ls)
		}
		p.must("stop")
		p.must("model", "rm", "hf:org/eye:Q8_0")
		if ls := p.must("model", "ls").stdout; !strings.Contains(ls, "no model") {
			t.Errorf("the projector stayed:\n%s", ls)
		}
	})
	t.Run("a draft", func(t *testing.T) {
		h := up("--model", file, "--draft", file, "--", "--ctx-size", "256")
		companion(t, h, "draft")
		if got := says(h); want != "" && got != want {
			t.Errorf("with a draft it says %q, want %q", got, want)
		}
		if logs := p.must("logs").stdout; !strings.Contains(logs, "draft acceptance") {
			t.Errorf("the draft was not used:\n%s", tail(logs, 30))
		}
	})
	t.Run("an adapter", func(t *testing.T) {
		path := filepath.Join(p.dir, "style.gguf")
		adapter := written(t, func(w io.Writer) error {
			return gguf.WriteLoRA(w, gguf.LoRA{
				Architecture: arch.Architecture, Embedding: int(arch.EmbeddingLength), FeedForward: int(arch.FeedForwardLength[0]), Blocks: int(arch.BlockCount),
			})
		})
		if err := os.WriteFile(path, adapter, 0o600); err != nil {
			t.Fatal(err)
		}
		without := says(up("--model", file, "--lora", path+"=0", "--", "--ctx-size", "256"))
		if want != "" && without != want {
			t.Errorf("with an adapter that does not count it says %q, want %q", without, want)
		}
		h := up("--model", file, "--lora", path, "--", "--ctx-size", "256")
		companion(t, h, "lora")
		if got := says(h); got == without {
			t.Errorf("the adapter changed nothing: %q", got)
		}
	})
	p.must("stop")
	p.leftNothing()
}

// companion checks what the handoff says of the model's only companion.
func companion(t *testing.T, h handoff.Handoff, kind string) {
	t.Helper()
	all := h.Model.Companions
	if len(all) != 1 || all[0].Kind != kind || all[0].Ref == "" || len(all[0].SHA256) != 64 {
		t.Fatalf("the handoff's companions are %+v", all)
	}
	if info, err := os.Stat(all[0].Path); err != nil || info.Size() != all[0].Size {
		t.Errorf("%s is not as the handoff says: %v", all[0].Path, err)
	}
}

func written(t *testing.T, write func(io.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// picture is a small PNG in base64.
func picture(t *testing.T) string {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 16, 16))
	for x := range 16 {
		for y := range 16 {
			img.Set(x, y, color.RGBA{R: uint8(16 * x), G: uint8(16 * y), A: 255})
		}
	}
	return base64.StdEncoding.EncodeToString(written(t, func(w io.Writer) error { return png.Encode(w, img) }))
}
