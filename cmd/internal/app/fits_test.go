package app

import (
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/fixtures/hub"
)

// TestFits holds that a model too large for the machine is said to be, once, before
// it is downloaded, with the numbers and what would fit.
func TestFits(t *testing.T) {
	t.Parallel()
	var tiny strings.Builder
	if err := gguf.WriteTinyLlama(&tiny); err != nil {
		t.Fatal(err)
	}
	h := hub.New(t)
	// Large enough that it is fetched in pieces.
	h.Add("org/tiny", "tiny-Q8_0.gguf", append([]byte(tiny.String()), make([]byte, 16<<20)...))
	h.Add("org/tiny", "tiny-Q4_K_M.gguf", []byte(tiny.String()))
	h.Add("org/tiny", "tiny-Q2_K.gguf", []byte("GGUF"))

	for name, c := range map[string]struct {
		memory int64
		limit  string
		want   string
	}{
		"there is enough":  {64 << 30, "", ""},
		"nobody knows":     {0, "", ""},
		"there is little":  {1 << 20, "", "of memory, and 1MiB are available; it may be slow or fail to start; a smaller `ctx` needs less"},
		"the user's limit": {64 << 30, "6m", "and 6MiB are available; it may be slow or fail to start; a smaller `ctx` needs less, and hf:org/tiny:Q4_K_M would fit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startEngine(t)
			f.memory = c.memory
			f.env["HF_ENDPOINT"] = h.Endpoint()
			opt := options(t.TempDir())
			opt.Model, opt.Memory, opt.Ctx = "hf:org/tiny:Q8_0", c.limit, 256
			r, err := check(opt)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			d, err := OpenDisplay(&out, "plain")
			if err != nil {
				t.Fatal(err)
			}
			a := f.app(t)
			w := &runner{a: a, d: d, eng: f.connect(t), r: r}
			m, err := w.fetch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			early := w.said
			w.fits(t.Context(), m.Header())
			d.Close()
			if early != w.said {
				t.Errorf("said early %v, in the end %v", early, w.said)
			}
			if text := out.String(); c.want == "" && strings.Contains(text, "the model may not fit") || strings.Count(text, c.want) != 1 && c.want != "" {
				t.Errorf("it said\n%s", text)
			}
		})
	}
}
