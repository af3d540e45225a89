package buildkit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/policy"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func denyAll(t *testing.T) *policy.Policy {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(`{"version":1,"rules":[{"action":"DENY","selector":{"identifier":"*"}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := policy.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A builder is given the policy; what it refuses is said with the rule, and is no base
// that cannot be had.
func TestPolicy(t *testing.T) {
	t.Parallel()
	d := serve(t, &daemon{files: llamaTree(), resolve: func(ref, _ string) (*gwpb.ResolveImageConfigResponse, error) {
		return nil, status.Error(codes.Unknown, `source "docker-image://`+ref+`" denied by policy: source denied by policy`)
	}})
	b := d.dial(t)
	b.Policy = denyAll(t)
	_, err := b.Collect(t.Context(), query(nil))
	if fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), "docker.io/library/debian:trixie-slim is denied by rule 1, DENY *") {
		t.Errorf("got %v", err)
	}
	if rules := d.request.GetSourcePolicy().GetRules(); len(rules) != 1 || rules[0].Selector.Identifier != "*" {
		t.Errorf("the builder was given %v", rules)
	}
}

// A builder that takes no notice of policies is given nothing to build.
func TestPolicyOfAnOldBuilder(t *testing.T) {
	t.Parallel()
	old := func() *daemon { return &daemon{without: []apicaps.CapID{pb.CapSourcePolicy}} }
	d := serve(t, old())
	b := d.dial(t)
	b.Policy = denyAll(t)
	j := job(t)
	j.Output.Push = true
	_, err := b.Build(t.Context(), j)
	if fault.ClassOf(err) != fault.Machine || !strings.Contains(err.Error(), "does not support source policies") {
		t.Errorf("got %v", err)
	}
	if err := serve(t, old()).dial(t).TakesPolicies(t.Context()); fault.ClassOf(err) != fault.Machine {
		t.Errorf("got %v", err)
	}
	if err := serve(t, &daemon{}).dial(t).TakesPolicies(t.Context()); err != nil {
		t.Errorf("got %v", err)
	}
}
