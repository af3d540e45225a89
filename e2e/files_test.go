package e2e

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"
)

// write puts a file into the project's folder.
func (p *project) write(name, content string, mode os.FileMode) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// askWith asks for a completion with a key.
func askWith(t *testing.T, url, key string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/completion", bytes.NewReader([]byte(`{"prompt":"x","n_predict":1}`)))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// TestFixtureKeyFile gives the server a file with keys that only its owner can read. A
// file with another key is another run, and no copy of it outlives the server.
func TestFixtureKeyFile(t *testing.T) {
	p := fixture(t)
	model := p.model()
	key := p.write("keys", "first\n", 0o600)
	run := func() string {
		p.must("run", fixtureTag, "--model", model, "--", "--api-key-file", "keys")
		h, ok := p.handoff("default")
		if !ok {
			t.Fatal("there is no handoff")
		}
		if len(h.Files) != 1 || h.Files[0].Path != key || !slices.Contains(h.Flags, h.Files[0].ServerPath) {
			t.Errorf("files are %+v, flags %q", h.Files, h.Flags)
		}
		return h.URL
	}
	before := p.namelessVolumes()
	url := run()
	for given, want := range map[string]int{"": http.StatusUnauthorized, "second": http.StatusUnauthorized, "first": http.StatusOK} {
		if got := askWith(t, url, given); got != want {
			t.Errorf("with the key %q: %d, want %d", given, got, want)
		}
	}
	c, err := p.api.ContainerInspect(t.Context(), p.containers()[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range c.Config.Labels {
		if strings.Contains(value, "first") {
			t.Errorf("the key is in the label %s", name)
		}
	}
	p.write("keys", "second\n", 0o600)
	if url := run(); askWith(t, url, "first") != http.StatusUnauthorized || askWith(t, url, "second") != http.StatusOK {
		t.Error("the server has the old key")
	}
	if r := p.must("run", fixtureTag, "--model", model, "--", "--api-key-file", "keys"); !strings.Contains(r.stdout, "was running already") {
		t.Errorf("the same again started another: %s", r)
	}
	p.must("stop")
	p.leftNothing()
	if after := p.namelessVolumes(); len(after) > len(before) {
		t.Errorf("volumes were left: %v", after)
	}
}

// namelessVolumes are the engine's volumes with copies of secrets.
func (p *project) namelessVolumes() []string {
	p.t.Helper()
	list, err := p.api.VolumeList(p.t.Context(), volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", "dev.llorch.role=secret"))})
	if err != nil {
		p.t.Fatal(err)
	}
	var out []string
	for _, v := range list.Volumes {
		out = append(out, v.Name)
	}
	return out
}

// TestFixtureMissingFiles holds that a file that is not there is said before anything
// starts, with the flag as the user wrote it, and that secrets stay off the command line.
func TestFixtureMissingFiles(t *testing.T) {
	p := fixture(t)
	model := p.model()
	for _, c := range []struct {
		words string
		want  []string
	}{
		{"--api-key-file absent", []string{`--api-key-file "absent"`, "no such file"}},
		{"--chat_template_file=absent.jinja", []string{`--chat_template_file "absent.jinja"`}},
		{"-md absent.gguf --grammar-file absent.gbnf", []string{`-md "absent.gguf"`, `--grammar-file "absent.gbnf"`}},
		{"--api-key sesame", []string{"--api-key-file"}},
		{"-hft sesame", []string{"HF_TOKEN"}},
	} {
		args := append([]string{"run", fixtureTag, "--model", model, "--"}, strings.Fields(c.words)...)
		r := p.run(args...)
		r.wants(t, 2, c.want...)
		if strings.Contains(r.stderr, "sesame") {
			t.Errorf("the secret is repeated:\n%s", r)
		}
	}
	p.leftNothing()
}
