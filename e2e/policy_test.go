package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
)

// TestFixturePolicy checks that a build uses only sources that its policy allows, and that a
// refusal names the source and the rule.
func TestFixturePolicy(t *testing.T) {
	gate(t, "LLORCH_E2E_FIXTURE", "fixture")
	p := newProject(t)
	builder := standalone(t)
	repo := gitrepo.New(t, tinyengine.Tree())
	url := repo.Serve()
	git := "git://" + strings.TrimPrefix(url, "http://")
	policy := func(allowed ...string) string {
		t.Helper()
		text := `{"version":1,"rules":[{"action":"DENY","selector":{"identifier":"*"}}`
		for _, a := range allowed {
			text += fmt.Sprintf(`,{"action":"ALLOW","selector":{"identifier":%q}}`, a)
		}
		file := filepath.Join(t.TempDir(), "policy.json")
		if err := os.WriteFile(file, []byte(text+"]}"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	const bases, layouts = "docker-image://docker.io/library/debian:*", "oci-layout://*"
	out := filepath.Join(p.dir, "image.tar")
	build := func(file string) result {
		t.Helper()
		return p.run("build", "--builder", builder.Addr, "--source", url, "--ref", "HEAD", "--cpu", "x86-64-v3", "--no-ui", "--output", out, "--source-policy", file)
	}
	for name, c := range map[string]struct {
		allowed []string
		says    []string
	}{
		"nothing":                  {nil, []string{git + "#HEAD is denied by rule 1, DENY *"}},
		"the ref, and no commit":   {[]string{git + "#HEAD", bases, layouts}, []string{git + "#" + repo.Head(), "is denied by rule 1"}},
		"the source, and no bases": {[]string{git + "#*"}, []string{"docker.io/library/debian:trixie-slim", "is denied by rule 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			build(policy(c.allowed...)).wants(t, 2, append(c.says, "denies a source")...)
			if _, err := os.Stat(out); err == nil {
				t.Error("an image was written")
			}
		})
	}
	if r := build(policy(git+"#*", bases, layouts)); r.code != 0 {
		t.Errorf("what is allowed is refused: %s", r)
	}
	if _, err := os.Stat(out); err != nil {
		t.Error(err)
	}
}
