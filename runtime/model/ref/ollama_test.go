package ref

import (
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
)

func TestParseOllama(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]Ref{
		"ollama://llama3.2":                     {Kind: Registry, Repo: "registry.ollama.ai/library/llama3.2", Revision: "latest"},
		"ollama://llama3.2:3b":                  {Kind: Registry, Repo: "registry.ollama.ai/library/llama3.2", Revision: "3b"},
		"OLLAMA://me/Mine:q4_K_M":               {Kind: Registry, Repo: "registry.ollama.ai/me/Mine", Revision: "q4_K_M"},
		"ollama://host.example:5000/a/b:1":      {Kind: Registry, Repo: "host.example:5000/a/b", Revision: "1"},
		"ollama://hf.co/Org/Repo-GGUF:Q4_K_M":   {Kind: Hub, Repo: "Org/Repo-GGUF", Revision: "main", Quant: "Q4_K_M"},
		"ollama://huggingface.co/Org/Repo-GGUF": {Kind: Hub, Repo: "Org/Repo-GGUF", Revision: "main"},
		"ollama://tiny#sha256=" + someSum:       {Kind: Registry, Repo: "registry.ollama.ai/library/tiny", Revision: "latest", SHA256: someSum},
	} {
		got, err := Parse(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		again, err := Parse(got.Raw)
		if err != nil || again != got {
			t.Errorf("%s: its Raw %q is %+v, %v", raw, got.Raw, again, err)
		}
		if got.IsOllama() != (got.Kind == Registry) {
			t.Errorf("%s: IsOllama is %v", raw, got.IsOllama())
		}
		got.Raw = ""
		if got != want {
			t.Errorf("%s: %+v, want %+v", raw, got, want)
		}
	}
	for _, raw := range []string{"ollama://", "ollama://a/b/c/d", "ollama://../x", "ollama://x:", "ollama://a/../b", "ollama://x:a/b", "ollama:///x", "ollama://x y", "ollama://x@sha256:12"} {
		if r, err := Parse(raw); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%s: %+v, %v", raw, r, err)
		}
	}
}
