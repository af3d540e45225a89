package engine

import (
	"strings"
	"testing"
)

func TestTryFlags(t *testing.T) {
	t.Parallel()
	const always = "--n-gpu-layers 0 --ctx-size 256 --parallel 1 --no-warmup"
	for flags, want := range map[string]string{
		"": always,
		"--ctx-size 8192 --n-gpu-layers 99 --metrics": always,
		"--jinja --override-kv a=int:1 --threads 4":   "--jinja --override-kv a=int:1 " + always,
		"--chat-template chatml --embedding":          "--chat-template chatml --embedding " + always,
		"--chat-template":                             always,
		"--chat-template-file /files/0/x.jinja":       "--chat-template chatml " + always,
	} {
		if got := strings.Join(TryFlags(strings.Fields(flags)), " "); got != want {
			t.Errorf("%q: %q, want %q", flags, got, want)
		}
	}
}
