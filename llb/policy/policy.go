// Package policy applies a file of BuildKit's source policies to a build, in the JSON that
// buildx and other clients read.
package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/sourcepolicy"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/moby/buildkit/util/gitutil"
)

// Policy has the rules of a file. A nil Policy allows everything.
type Policy struct {
	// Rules are passed to the builder.
	Rules *spb.Policy
	file  string
}

// version is the version of the format.
const version = 1

// Read reads a policy. An invalid policy is a fault.Usage, because a builder ignores parts
// of a rule that it does not know.
func Read(file string) (*Policy, error) {
	if file == "" {
		return nil, nil
	}
	p := &Policy{Rules: &spb.Policy{}, file: file}
	data, err := os.ReadFile(file)
	if err == nil {
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		err = dec.Decode(p.Rules)
	}
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return nil, fault.New(fault.Usage, "invalid source policy "+file, err,
			`write BuildKit's JSON, such as {"version":1,"rules":[{"action":"DENY","selector":{"identifier":"*"}}]}`)
	}
	return p, nil
}

// check lists everything that is wrong with the rules.
func (p *Policy) check() error {
	var wrong []error
	// Clients older than the field do not write it.
	if v := p.Rules.Version; v != 0 && v != version {
		wrong = append(wrong, fmt.Errorf("version must be %d, got %d", version, v))
	}
	if len(p.Rules.Rules) == 0 {
		wrong = append(wrong, errors.New("it has no rules"))
	}
	for i, r := range p.Rules.Rules {
		if r == nil || r.Selector == nil || r.Selector.Identifier == "" {
			wrong = append(wrong, fmt.Errorf("rule %d has no selector", i+1))
			continue
		}
		if r.Action == spb.PolicyAction_CONVERT && r.Updates == nil {
			wrong = append(wrong, fmt.Errorf("rule %d, CONVERT, has no updates", i+1))
		}
		// Evaluating a pattern is the way to validate it.
		if _, err := p.evaluate([]*spb.Rule{{Action: spb.PolicyAction_ALLOW, Selector: r.Selector}}, "x", nil); err != nil {
			wrong = append(wrong, fmt.Errorf("rule %d: %w", i+1, err))
		}
	}
	return errors.Join(wrong...)
}

func (p *Policy) evaluate(rules []*spb.Rule, identifier string, attrs map[string]string) (*pb.SourceOp, error) {
	op := &pb.SourceOp{Identifier: identifier, Attrs: attrs}
	_, err := sourcepolicy.NewEngine([]*spb.Policy{{Version: version, Rules: rules}}).Evaluate(context.Background(), op)
	return op, err
}

// Git applies the policy to this program's own look-up of a ref, as the builder applies it to
// the fetched commit. A source that is denied, or that a rule converts, is a fault.Usage
// that names the rule.
func (p *Policy) Git(location, ref string) error {
	if p == nil {
		return nil
	}
	u, err := gitutil.ParseURL(location)
	if err != nil {
		return nil //nolint:nilerr // The look-up says what is wrong with it.
	}
	identifier := "git://" + u.Host + path.Join("/", u.Path)
	if ref != "" {
		identifier += "#" + ref
	}
	op, err := p.evaluate(p.Rules.Rules, identifier, map[string]string{pb.AttrFullRemoteURL: u.Remote})
	switch {
	case errors.Is(err, sourcepolicy.ErrSourceDenied):
		return p.denied(identifier)
	case err != nil:
		return err
	case op.Identifier != identifier:
		return fault.New(fault.Usage, "the source policy "+p.file+" converts the source", fmt.Errorf("%s becomes %s", identifier, op.Identifier), "name the converted source with `source`")
	}
	return nil
}

// refused matches a builder's refusal.
var refused = regexp.MustCompile(`source "([^"]+)" denied by policy`)

// Explain turns a builder's refusal into a fault that names the rule. It returns nil for
// any other error.
func (p *Policy) Explain(err error) error {
	if p == nil || err == nil {
		return nil
	}
	if m := refused.FindStringSubmatch(err.Error()); m != nil {
		return p.denied(m[1])
	}
	return nil
}

// denied is the fault for a source that the policy denies.
func (p *Policy) denied(identifier string) error {
	why := fmt.Errorf("%s is denied", identifier)
	// The last matching rule applies. Only a builder can evaluate a rule's constraints, so
	// they are ignored here.
	for i, r := range p.Rules.Rules {
		if r.Action != spb.PolicyAction_DENY {
			continue
		}
		bare := &spb.Rule{Action: r.Action, Selector: &spb.Selector{Identifier: r.Selector.Identifier, MatchType: r.Selector.MatchType}}
		if _, err := p.evaluate([]*spb.Rule{bare}, identifier, nil); errors.Is(err, sourcepolicy.ErrSourceDenied) {
			why = fmt.Errorf("%s is denied by rule %d, DENY %s", identifier, i+1, r.Selector.Identifier)
		}
	}
	return fault.New(fault.Usage, "the source policy "+p.file+" denies a source", why, "use a source that it allows, or add a rule after that one: ALLOW "+strings.SplitN(identifier, "@", 2)[0])
}
