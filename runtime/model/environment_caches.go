package model

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/llorch/llorch-bk/runtime/model/caches"
)

// expanded is a path from a variable, with ~ and other variables in it replaced as Hugging
// Face's tools do: no shell has done so in a service's settings or a quoted word.
func expanded(getenv func(string) string, v string) string {
	if home := getenv("HOME"); home != "" && (v == "~" || strings.HasPrefix(v, "~/")) {
		v = home + v[1:]
	}
	if !strings.Contains(v, "$") {
		return v
	}
	return os.Expand(v, func(name string) string {
		if value := getenv(name); value != "" {
			return value
		}
		return "$" + name
	})
}

// huggingFaceHome is the folder of Hugging Face's tools, empty where there is none.
func huggingFaceHome(getenv func(string) string) string {
	if home := expanded(getenv, getenv("HF_HOME")); home != "" {
		return home
	}
	if cache := under(getenv, "XDG_CACHE_HOME", ".cache"); cache != "" {
		return filepath.Join(cache, "huggingface")
	}
	return ""
}

// hubCache is where Hugging Face's tools keep what they fetch.
func hubCache(getenv func(string) string) string {
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"} {
		if dir := expanded(getenv, getenv(name)); filepath.IsAbs(dir) {
			return dir
		}
	}
	if dir := filepath.Join(huggingFaceHome(getenv), "hub"); filepath.IsAbs(dir) {
		return dir
	}
	return ""
}

// otherCaches are the folders of llama.cpp, LM Studio and Ollama, by the variables that
// these read and by their defaults.
func otherCaches(getenv func(string) string) []caches.Cache {
	var out []caches.Cache
	add := func(layout caches.Layout, dir string) {
		if filepath.IsAbs(dir) {
			out = append(out, caches.Cache{Layout: layout, Dir: dir})
		}
	}
	home := getenv("HOME")
	below := func(parts ...string) string {
		if home == "" {
			return ""
		}
		return filepath.Join(append([]string{home}, parts...)...)
	}
	if dir := expanded(getenv, getenv("LLAMA_CACHE")); dir != "" {
		add(caches.HuggingFace, dir)
		add(caches.LlamaCpp, dir)
	}
	if cache := under(getenv, "XDG_CACHE_HOME", ".cache"); cache != "" {
		add(caches.LlamaCpp, filepath.Join(cache, "llama.cpp"))
	}
	add(caches.LlamaCpp, below("Library", "Caches", "llama.cpp"))
	for _, dir := range lmStudioFolders(home) {
		add(caches.LMStudio, dir)
	}
	if dir := expanded(getenv, getenv("OLLAMA_MODELS")); dir != "" {
		add(caches.Ollama, dir)
		return out
	}
	add(caches.Ollama, below(".ollama", "models"))
	// Where Ollama's own installer, and distributions, put the service's home.
	add(caches.Ollama, "/usr/share/ollama/.ollama/models")
	add(caches.Ollama, "/var/lib/ollama/.ollama/models")
	return out
}

// lmStudioFolders are the folders that LM Studio keeps models in: the one of its settings,
// and its defaults, today's and the earlier one.
func lmStudioFolders(home string) []string {
	if home == "" {
		return nil
	}
	base := filepath.Join(home, ".lmstudio")
	if b, err := os.ReadFile(filepath.Join(home, ".lmstudio-home-pointer")); err == nil && strings.TrimSpace(string(b)) != "" {
		base = strings.TrimSpace(string(b))
	}
	var settings struct {
		Folder string `json:"downloadsFolder"`
	}
	var out []string
	if b, err := os.ReadFile(filepath.Join(base, "settings.json")); err == nil && json.Unmarshal(b, &settings) == nil && settings.Folder != "" {
		out = append(out, settings.Folder)
	}
	return append(out, filepath.Join(base, "models"), filepath.Join(home, ".cache", "lm-studio", "models"))
}
