package model

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/llorch/llorch-bk/runtime/model/caches"
)

// env is an environment of these variables alone.
func env(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// Variables hold ~ and other variables where no shell has replaced them.
func TestVariablesAreExpanded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		vars map[string]string
		want string
	}{
		"~ in HF_HOME":         {map[string]string{"HF_HOME": "~/hf"}, "/home/u/hf/hub"},
		"~ in HF_HUB_CACHE":    {map[string]string{"HF_HUB_CACHE": "~/c", "HF_HOME": "/hf"}, "/home/u/c"},
		"~ alone":              {map[string]string{"HF_HUB_CACHE": "~"}, "/home/u"},
		"a variable":           {map[string]string{"HF_HOME": "$SCRATCH/hf", "SCRATCH": "/s"}, "/s/hf/hub"},
		"in braces":            {map[string]string{"HF_HUB_CACHE": "${SCRATCH}/c", "SCRATCH": "/s"}, "/s/c"},
		"the earlier variable": {map[string]string{"HUGGINGFACE_HUB_CACHE": "/old"}, "/old"},
		"both":                 {map[string]string{"HUGGINGFACE_HUB_CACHE": "/old", "HF_HUB_CACHE": "/new"}, "/new"},
		"XDG":                  {map[string]string{"XDG_CACHE_HOME": "/xdg"}, "/xdg/huggingface/hub"},
		"none":                 {nil, "/home/u/.cache/huggingface/hub"},
	} {
		vars := map[string]string{"HOME": "/home/u"}
		for k, v := range c.vars {
			vars[k] = v
		}
		if got := hubCache(env(vars)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if got := hubCache(env(nil)); got != "" {
		t.Errorf("without HOME: %q", got)
	}
	e, err := FromEnv(env(map[string]string{"HOME": "/home/u", "LLORCH_MODEL_DIR": "~/models", "TRANSFORMERS_OFFLINE": "1"}))
	if err != nil || e.StoreDir != "/home/u/models" || !e.Offline {
		t.Errorf("%+v, %v", e, err)
	}
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "token"), []byte("hf_abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, vars := range []map[string]string{{"HF_TOKEN_PATH": "~/token"}, {"HF_HOME": "~"}} {
		vars["HOME"] = home
		if e, err := FromEnv(env(vars)); err != nil || e.Token != "hf_abc" {
			t.Errorf("%v: %v, %v", vars, e, err)
		}
	}
}

func TestOtherCaches(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	in := func(parts ...string) string { return filepath.Join(append([]string{home}, parts...)...) }
	got := otherCaches(env(map[string]string{"HOME": home, "LLAMA_CACHE": "~/llama", "OLLAMA_MODELS": "$HOME/ol"}))
	for _, want := range []caches.Cache{
		{Layout: caches.HuggingFace, Dir: in("llama")},
		{Layout: caches.LlamaCpp, Dir: in("llama")},
		{Layout: caches.LlamaCpp, Dir: in(".cache", "llama.cpp")},
		{Layout: caches.LMStudio, Dir: in(".lmstudio", "models")},
		{Layout: caches.LMStudio, Dir: in(".cache", "lm-studio", "models")},
		{Layout: caches.Ollama, Dir: in("ol")},
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %+v in %+v", want, got)
		}
	}
	if slices.Contains(got, caches.Cache{Layout: caches.Ollama, Dir: in(".ollama", "models")}) {
		t.Error("OLLAMA_MODELS does not take the default's place")
	}
	// LM Studio says where its home and its models are.
	moved := t.TempDir()
	write(t, in(".lmstudio-home-pointer"), []byte(moved+"\n"))
	write(t, filepath.Join(moved, "settings.json"), []byte(`{"downloadsFolder": "/models"}`))
	got = otherCaches(env(map[string]string{"HOME": home}))
	for _, dir := range []string{"/models", filepath.Join(moved, "models")} {
		if !slices.Contains(got, caches.Cache{Layout: caches.LMStudio, Dir: dir}) {
			t.Errorf("no %s in %+v", dir, got)
		}
	}
}
