package llb_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

func config(t *testing.T, s subject) dockerspec.DockerOCIImage {
	t.Helper()
	var img dockerspec.DockerOCIImage
	if err := json.Unmarshal(s.graph(t).Config, &img); err != nil {
		t.Fatal(err)
	}
	return img
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"cpu-portable-amd64", "cuda"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if err := json.Indent(&out, subjects[name].graph(t).Config, "", "  "); err != nil {
				t.Fatal(err)
			}
			out.WriteByte('\n')
			golden(t, "config-"+name+".json", out.Bytes())
		})
	}
}

func TestConfigEnv(t *testing.T) {
	t.Parallel()
	const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	ours := []string{"LLAMA_ARG_HOST=0.0.0.0", "LLAMA_ARG_PORT=8080"}
	for name, c := range map[string]struct{ base, want []string }{
		"an empty base gets a PATH": {nil, append([]string{defaultPath}, ours...)},
		"the base's is kept":        {[]string{"PATH=/x", "LANG=C.UTF-8"}, append([]string{"PATH=/x", "LANG=C.UTF-8"}, ours...)},
		"ours wins, in its place":   {[]string{"LLAMA_ARG_PORT=1", "PATH=/x"}, []string{"LLAMA_ARG_PORT=8080", "PATH=/x", "LLAMA_ARG_HOST=0.0.0.0"}},
		"the last of a name wins":   {[]string{"PATH=/x", "PATH=/y=z"}, append([]string{"PATH=/y=z"}, ours...)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			img := config(t, cpu().with(runtimeBase, func(s *subject) { s.Facts.Runtime.Env = c.base }))
			if diff := cmp.Diff(c.want, img.Config.Env); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConfigCreated(t *testing.T) {
	t.Parallel()
	if got := config(t, cpu()).Created; got == nil || !got.Equal(time.Date(2026, 10, 1, 10, 0, 0, 0, time.UTC)) {
		t.Errorf("created %v, want the commit's time", got)
	}
	if got := config(t, cpu().with(func(s *subject) { s.Facts.Source.Time = time.Time{} })).Created; got != nil {
		t.Errorf("created %v of a commit whose time nobody knows", got)
	}
	p := cpu().plan(t)
	p.Source.Created = "yesterday"
	if _, err := llb.Build(p, modern, llb.Options{}); err == nil {
		t.Error("a plan with a time that is none was built")
	}
}

func TestConfigHealthcheckNeedsNoShell(t *testing.T) {
	t.Parallel()
	img := config(t, cpu())
	h := img.Config.Healthcheck
	if h == nil || len(h.Test) == 0 || h.Test[0] != "CMD" || h.Test[1] != images.Probe {
		t.Fatalf("healthcheck %+v", h)
	}
	// A model loads for minutes without counting as ill.
	if h.StartPeriod < 10*time.Minute || h.Retries == 0 {
		t.Errorf("healthcheck %+v", h)
	}
	if img.Config.User != images.User || img.Config.StopSignal != "SIGTERM" {
		t.Errorf("config %+v", img.Config)
	}
}
