package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/llorch/llorch-bk/fixtures/gguf"
)

// serveModels starts a mirror of the project's store, which ends with the test, and
// returns its address.
func serveModels(t *testing.T, p *project, flags ...string) (*started, string) {
	t.Helper()
	s := p.start(slices.Concat([]string{"model", "serve", "--port", "0", "--json"}, flags)...)
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	})
	var said struct{ URL string }
	eventually(t, "the mirror says where it is", time.Minute, func() bool {
		first, _, ok := strings.Cut(s.stdout.String(), "\n")
		return ok && json.Unmarshal([]byte(first), &said) == nil
	})
	return s, said.URL
}

// TestFixtureModelServe takes a model from another machine's store, whose hub is gone.
func TestFixtureModelServe(t *testing.T) {
	p := fixture(t)
	h, data := p.hub()
	p.must("model", "pull", "hf:org/tiny")

	const token = "hf_0123456789abcdefghijklmnopqrstuvwxyz"
	file := filepath.Join(p.dir, "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mirror, url := serveModels(t, p, "--token-file", file)
	second := newProject(t)
	second.setenv("HF_ENDPOINT", url)
	second.setenv("HF_HUB_CACHE", t.TempDir())
	second.run("model", "pull", "hf:org/tiny:Q8_0").wants(t, 5, "GatedRepo")
	second.setenv("HF_TOKEN", token)
	var pulled struct{ Path, Commit string }
	if err := json.Unmarshal([]byte(second.must("model", "pull", "hf:org/tiny:Q8_0", "--json").stdout), &pulled); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(pulled.Path)
	if err != nil || string(got) != string(data) || pulled.Commit != h.Commit("org/tiny") {
		t.Errorf("it has commit %s and %d bytes: %v", pulled.Commit, len(got), err)
	}
	second.must("model", "verify")

	mirror.interrupt()
	r := mirror.wait()
	if r.code != 0 || !strings.Contains(r.stdout, `/resolve/`) || strings.Contains(r.stdout, token) {
		t.Errorf("told to end: %s", r)
	}
}

// TestRealMirrorForLlamaCpp lets llama.cpp's own -hf take a model from a mirror, with a
// token, and complete a text.
func TestRealMirrorForLlamaCpp(t *testing.T) {
	gate(t, "LLORCH_E2E_REAL", "real")
	p := newProject(t)
	p.hub()
	p.must("model", "pull", "hf:org/tiny:Q8_0")
	token := filepath.Join(p.dir, "token")
	const word = "hf_0123456789abcdefghijklmnopqrstuvwxyz"
	if err := os.WriteFile(token, []byte(word), 0o600); err != nil {
		t.Fatal(err)
	}
	mirror, url := serveModels(t, p, "--token-file", token)

	image := os.Getenv("LLORCH_E2E_IMAGE")
	if image == "" {
		const tag = "llorch-e2e:mirror"
		p.must(slices.Concat([]string{"build", "--cpu", "native", "--tag", tag}, realSource(t))...)
		t.Cleanup(func() { removeImages(t, p.api, tag) })
		image = tag
	}
	port := freePort(t)
	made, err := p.api.ContainerCreate(t.Context(), &container.Config{
		Image: image, Entrypoint: []string{"/app/llama-server"},
		Cmd: []string{"-hf", "org/tiny:Q8_0", "--host", "127.0.0.1", "--port", fmt.Sprint(port), "--ctx-size", "256"},
		Env: []string{"HF_ENDPOINT=" + url, "HF_TOKEN=" + word, "LLAMA_CACHE=/tmp/cache", "HOME=/tmp"},
	}, &container.HostConfig{NetworkMode: "host", LogConfig: container.LogConfig{Type: "json-file"}}, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.api.ContainerRemove(context.WithoutCancel(t.Context()), made.ID, container.RemoveOptions{Force: true})
	})
	if err := p.api.ContainerStart(t.Context(), made.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	server := fmt.Sprintf("http://127.0.0.1:%d", port)
	deadline := time.Now().Add(5 * time.Minute)
	for ok := false; !ok; {
		state, err := p.api.ContainerInspect(t.Context(), made.ID)
		if err != nil || !state.State.Running || time.Now().After(deadline) {
			t.Fatalf("it is not ready: %v\n%s\n%s", err, containerLog(t, p, made.ID), mirror.stdout)
		}
		resp, err := http.Get(server + "/health")
		if ok = err == nil && resp.StatusCode == http.StatusOK; err == nil {
			resp.Body.Close()
		}
		if !ok {
			<-time.After(50 * time.Millisecond)
		}
	}
	code, body := answer(t, http.MethodPost, server+"/completion", map[string]any{"prompt": gguf.TinyLlamaPrompt, "n_predict": 24, "temperature": 0})
	var said struct{ Content string }
	if err := json.Unmarshal([]byte(body), &said); err != nil || code != http.StatusOK || said.Content != gguf.TinyLlamaCompletion {
		t.Errorf("/completion: %d %s", code, body)
	}
	seen := mirror.stdout.String()
	for _, part := range []string{"/api/models/org/tiny/refs", "/resolve/", "llama-cpp"} {
		if !strings.Contains(seen, part) {
			t.Errorf("the mirror saw no %q:\n%s", part, seen)
		}
	}
	mirror.interrupt()
	if r := mirror.wait(); r.code != 0 {
		t.Errorf("told to end: %s", r)
	}
}

func containerLog(t *testing.T, p *project, id string) string {
	t.Helper()
	r, err := p.api.ContainerLogs(t.Context(), id, container.LogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	var out strings.Builder
	_, _ = stdcopy.StdCopy(&out, &out, r)
	return tail(out.String(), 40)
}
