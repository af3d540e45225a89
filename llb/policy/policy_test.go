package policy_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/policy"
)

func read(t *testing.T, text string) (*policy.Policy, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return policy.Read(file)
}

const mirror = `{"version":1,"rules":[
	{"action":"DENY","selector":{"identifier":"*"}},
	{"action":"ALLOW","selector":{"identifier":"git://git.example.com/*"}},
	{"action":"DENY","selector":{"identifier":"^git://git\\.example\\.com/secret","match_type":"REGEX"}},
	{"action":"CONVERT","selector":{"identifier":"git://github.com/*"},"updates":{"identifier":"git://git.example.com/${1}"}}
]}`

func TestGit(t *testing.T) {
	t.Parallel()
	p, err := read(t, mirror)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		location, ref string
		want          []string // nothing where it is allowed
	}{
		"allowed":                {"https://git.example.com/llama.cpp.git", "v0.5.0", nil},
		"allowed over ssh":       {"git@git.example.com:llama.cpp.git", "", nil},
		"denied by the first":    {"https://example.org/llama.cpp", "main", []string{"git://example.org/llama.cpp#main is denied by rule 1, DENY *"}},
		"denied by a later rule": {"https://git.example.com/secret/llama.cpp", "", []string{"is denied by rule 3, DENY ^git://"}},
		"converted":              {"https://github.com/ggml-org/llama.cpp", "", []string{"converts the source", "`source`"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := p.Git(c.location, c.ref)
			if c.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if fault.ClassOf(err) != fault.Usage {
				t.Fatalf("got %v, want a fault.Usage", err)
			}
			for _, w := range c.want {
				if !strings.Contains(fault.Report(err), w) {
					t.Errorf("no %q in:\n%s", w, fault.Report(err))
				}
			}
		})
	}
	var none *policy.Policy
	if err := none.Git("https://example.org/x", ""); err != nil {
		t.Error(err)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	p, err := read(t, mirror)
	if err != nil {
		t.Fatal(err)
	}
	err = p.Explain(errors.New(`failed to solve: rpc error: code = Unknown desc = source "docker-image://docker.io/library/debian:trixie@sha256:1" denied by policy: source denied by policy`))
	if err == nil || !strings.Contains(err.Error(), "docker-image://docker.io/library/debian:trixie@sha256:1 is denied by rule 1, DENY *") {
		t.Errorf("got %v", err)
	}
	if err := p.Explain(errors.New("no space left on device")); err != nil {
		t.Errorf("it explains %v", err)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	if p, err := policy.Read(""); p != nil || err != nil {
		t.Errorf("%v, %v", p, err)
	}
	if _, err := policy.Read("nowhere.json"); fault.ClassOf(err) != fault.Usage {
		t.Errorf("got %v", err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"no JSON":          {"deny all", "invalid character"},
		"an unknown field": {`{"rules":[{"action":"DENY","selector":{"identifier":"*"},"except":"x"}]}`, `"except"`},
		"an unknown act":   {`{"rules":[{"action":"REFUSE","selector":{"identifier":"*"}}]}`, "REFUSE"},
		"no rules":         {`{"version":1}`, "it has no rules"},
		"another version":  {`{"version":2,"rules":[{"action":"DENY","selector":{"identifier":"*"}}]}`, "version must be 1, got 2"},
		"no selector":      {`{"rules":[{"action":"DENY"}]}`, "rule 1 has no selector"},
		"a bad pattern":    {`{"rules":[{"action":"DENY","selector":{"identifier":"*"}},{"action":"DENY","selector":{"identifier":"(","match_type":"REGEX"}}]}`, "rule 2: "},
		"no conversion":    {`{"rules":[{"action":"CONVERT","selector":{"identifier":"*"}}]}`, "CONVERT, has no updates"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := read(t, c.text)
			if err == nil || fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
