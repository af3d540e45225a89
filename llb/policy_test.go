package llb_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb/policy"
	"github.com/moby/buildkit/sourcepolicy"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
)

// The sources of a graph are called what the policy's README says, as BuildKit's own
// engine sees them: what is allowed by those names is built, and nothing else.
func TestGraphsKeepToAPolicy(t *testing.T) {
	t.Parallel()
	git := "git://" + strings.TrimPrefix(images.DefaultRepository, "https://") + "*"
	const base = "docker-image://docker.io/library/debian:trixie-slim@"
	for name, c := range map[string]struct {
		subject subject
		allowed []string
		// denied begins the source that is refused; empty where none is.
		denied string
	}{
		"the source and the base": {cpu(), []string{git, base + sha("b")}, ""},
		"another base":            {cpu(), []string{git, base + sha("c")}, base + sha("b")},
		"no source":               {cpu(), []string{base + sha("b")}, strings.TrimSuffix(git, "*") + "#" + commit},
		"a tree that is sent":     {cpu().with(local), []string{"local://source", base + sha("b")}, ""},
		"a tree that is not":      {cpu().with(local), []string{git, base + sha("b")}, "local://source"},
		"a base of this machine":  {cpu().with(layout), []string{"local://source", "oci-layout://*"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := policyOf(t, c.allowed...)
			engine := sourcepolicy.NewEngine([]*spb.Policy{p.Rules})
			denied := map[string]bool{}
			for _, o := range c.subject.ops(t) {
				if _, err := engine.Evaluate(t.Context(), o.Op.GetSource()); err != nil {
					why := p.Explain(err)
					if why == nil || !strings.Contains(why.Error(), o.Op.GetSource().Identifier+" is denied by rule 1, DENY *") {
						t.Errorf("%v is explained as %v", err, why)
					}
					denied[o.Op.GetSource().Identifier] = true
				}
			}
			if c.denied == "" && len(denied) > 0 || c.denied != "" && (len(denied) != 1 || !denied[c.denied]) {
				t.Errorf("denied %v, want %q", denied, c.denied)
			}
		})
	}
}

// policyOf allows sources by their names, and no other.
func policyOf(t *testing.T, allowed ...string) *policy.Policy {
	t.Helper()
	text := `{"version":1,"rules":[{"action":"DENY","selector":{"identifier":"*"}}`
	for _, a := range allowed {
		text += fmt.Sprintf(`,{"action":"ALLOW","selector":{"identifier":%q}}`, a)
	}
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(text+"]}"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := policy.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
