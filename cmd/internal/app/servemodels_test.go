package app

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
)

// A mirror says where it is, answers, reports the request, and ends without an error when
// it is told to.
func TestServeModels(t *testing.T) {
	t.Parallel()
	for _, asJSON := range []bool{true, false} {
		env := map[string]string{"LLORCH_MODEL_DIR": filepath.Join(t.TempDir(), "models"), "HOME": t.TempDir()}
		out, in := io.Pipe()
		var stderr bytes.Buffer
		a := &App{Out: in, Err: &stderr, Getenv: func(name string) string { return env[name] }}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- a.ServeModels(ctx, ServeModelsOptions{Listen: "127.0.0.1", JSON: asJSON})
			in.Close()
		}()
		lines := bufio.NewScanner(out)
		lines.Scan()
		var url string
		if asJSON {
			var e struct{ Event, URL string }
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Event != "listening" {
				t.Fatalf("%v: %s", err, lines.Text())
			}
			url = e.URL
		} else {
			_, url, _ = strings.Cut(lines.Text(), " at ")
		}
		rest := make(chan string, 1)
		go func() {
			var all []string
			for lines.Scan() {
				all = append(all, lines.Text())
			}
			rest <- strings.Join(all, "\n")
		}()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/api/models", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || strings.TrimSpace(string(body)) != "[]" {
			t.Errorf("an empty store: %s %s", resp.Status, body)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("told to end: %v", err)
		}
		said := <-rest + stderr.String()
		if !strings.Contains(said, "/api/models") || !strings.Contains(said, "200") {
			t.Errorf("the request was not reported: %s", said)
		}
		if strings.Contains(said, "anyone") {
			t.Errorf("on loopback: %s", said)
		}
	}
}

func TestServeModelsRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, content string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	busy, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	taken := busy.Addr().(*net.TCPAddr).Port
	for name, c := range map[string]struct {
		opt  ServeModelsOptions
		says string
	}{
		"a name":           {ServeModelsOptions{Listen: "localhost"}, "--listen"},
		"a port too large": {ServeModelsOptions{Listen: "127.0.0.1", Port: 70000}, "--port"},
		"a port in use":    {ServeModelsOptions{Listen: "127.0.0.1", Port: taken}, "--port 0"},
		"no token's file":  {ServeModelsOptions{Listen: "127.0.0.1", TokenFile: filepath.Join(dir, "none")}, "no such file"},
		"an empty token":   {ServeModelsOptions{Listen: "127.0.0.1", TokenFile: file("empty", " \n")}, "it is empty"},
		"two words":        {ServeModelsOptions{Listen: "127.0.0.1", TokenFile: file("two", "one two")}, "it has spaces"},
		"a whole file":     {ServeModelsOptions{Listen: "127.0.0.1", TokenFile: file("long", strings.Repeat("x", 5000))}, "more than"},
	} {
		a := &App{Out: io.Discard, Err: io.Discard, Getenv: func(name string) string {
			return map[string]string{"LLORCH_MODEL_DIR": filepath.Join(dir, "models")}[name]
		}}
		err := a.ServeModels(t.Context(), c.opt)
		if fault.ClassOf(err) != fault.Usage || !strings.Contains(fault.Report(err), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	// A word with a line's end is what an editor writes.
	if token, err := mirrorToken(file("good", "hf_abc\n")); token != "hf_abc" || err != nil {
		t.Errorf("%q, %v", token, err)
	}
}

// An address that others reach is said to be one, unless clients need a token.
func TestServeModelsWarns(t *testing.T) {
	t.Parallel()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("hf_abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, warned := range map[string]bool{"": true, token: false} {
		out, in := io.Pipe()
		a := &App{Out: in, Err: io.Discard, Getenv: func(name string) string {
			return map[string]string{"LLORCH_MODEL_DIR": filepath.Join(t.TempDir(), "models")}[name]
		}}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- a.ServeModels(ctx, ServeModelsOptions{Listen: "0.0.0.0", TokenFile: file, JSON: true})
			in.Close()
		}()
		var said string
		for lines := bufio.NewScanner(out); lines.Scan(); stop() { // as soon as it listens
			said += lines.Text()
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(said, "--token-file"); got != warned {
			t.Errorf("token %q: %s", file, said)
		}
	}
}
