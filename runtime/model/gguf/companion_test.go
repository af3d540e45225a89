package gguf_test

import (
	"bytes"
	"testing"

	fixture "github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

func TestBeside(t *testing.T) {
	t.Parallel()
	flat := []string{
		"README.md", "mmproj-model-f16.gguf", "mmproj-model-Q8_0.gguf", "model-Q4_K_M.gguf", "model-Q8_0.gguf",
		"mtp-model-Q4_0.gguf", "mtp-model-Q8_0.gguf", "model-eagle3-f16.gguf",
	}
	deep := []string{
		"mmproj-F16.gguf", "Q4_K_M/model-00001-of-00002.gguf", "Q4_K_M/model-00002-of-00002.gguf",
		"Q8_0/model.gguf", "Q8_0/mmproj-F32.gguf", "other/mmproj-Q4_0.gguf",
	}
	mtp := []string{"good-mtp-Q4_K_M.gguf", "good-mtp-Q8_0.gguf"}
	for name, c := range map[string]struct {
		files       []string
		model       string
		kind        gguf.Sidecar
		quant, want string
	}{
		"the most similar in bits":                  {flat, "model-Q4_K_M.gguf", gguf.SidecarProjector, "", "mmproj-model-Q8_0.gguf"},
		"the same of the larger":                    {flat, "model-Q8_0.gguf", gguf.SidecarProjector, "", "mmproj-model-Q8_0.gguf"},
		"a head":                                    {flat, "model-Q8_0.gguf", gguf.SidecarMTP, "", "mtp-model-Q8_0.gguf"},
		"a head by quantisation":                    {flat, "model-Q8_0.gguf", gguf.SidecarMTP, "q4_0", "mtp-model-Q4_0.gguf"},
		"a head without a model":                    {flat, "", gguf.SidecarMTP, "", "mtp-model-Q4_0.gguf"},
		"a head with its word inside":               {flat, "model-Q8_0.gguf", gguf.SidecarEagle3, "", "model-eagle3-f16.gguf"},
		"none of that kind":                         {flat, "model-Q8_0.gguf", gguf.SidecarDFlash, "", ""},
		"one above":                                 {deep, "Q4_K_M/model-00001-of-00002.gguf", gguf.SidecarProjector, "", "mmproj-F16.gguf"},
		"the nearest":                               {deep, "Q8_0/model.gguf", gguf.SidecarProjector, "", "Q8_0/mmproj-F32.gguf"},
		"not the model, though it is called so":     {mtp, "good-mtp-Q4_K_M.gguf", gguf.SidecarMTP, "", ""},
		"not a part":                                {[]string{"mmproj-00002-of-00002.gguf"}, "m.gguf", gguf.SidecarProjector, "", ""},
		"not another kind of file":                  {[]string{"mmproj.safetensors"}, "m.gguf", gguf.SidecarProjector, "", ""},
		"not a word that only ends like one":        {[]string{"xmtp-model.gguf"}, "m.gguf", gguf.SidecarMTP, "", ""},
		"a model's own name before the projector's": {[]string{"Model.mmproj-Q8_0.gguf"}, "Model.Q4_K_M.gguf", gguf.SidecarProjector, "", "Model.mmproj-Q8_0.gguf"},
	} {
		if got := gguf.Beside(c.files, c.model, c.kind, c.quant); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestSpeculation(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		architecture, tensor string
		want                 string
	}{
		"a model like any other":     {"llama", "blk.0.attn_q.weight", "draft-simple"},
		"a model that guesses ahead": {"glm4moe", "blk.46.nextn.eh_proj.weight", ""},
		"a head of one kind":         {"eagle3", "blk.0.attn_q.weight", "draft-eagle3"},
		"a head of another":          {"dflash", "blk.0.attn_q.weight", ""},
	} {
		var b bytes.Buffer
		err := fixture.Write(&b, fixture.File{
			Metadata: []fixture.Entry{{Key: "general.architecture", Value: c.architecture}},
			Tensors:  []fixture.Tensor{{Name: c.tensor, Dims: []uint64{1}, Data: []float32{1}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		facts, err := gguf.Examine(&b, int64(b.Len()))
		if err != nil || facts.Speculation() != c.want {
			t.Errorf("%s: %q, %v, want %q", name, facts.Speculation(), err, c.want)
		}
	}
}
