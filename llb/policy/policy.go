// Package policy holds a build to the sources that a file allows: BuildKit's own source
// policies, in the JSON that buildx and other clients read.
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

// Policy is the rules of a file. A nil Policy allows everything.
type Policy struct {
	// Rules are what a builder is given.
	Rules *spb.Policy
	file  string
}

// version is that of the format.
const version = 1

// Read reads a policy. One that cannot be understood is a fault.Usage: what a builder
// does not understand of a rule, it would not hold to.
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
		return nil, fault.New(fault.Usage, "the source policy "+file+" cannot be used", err,
			`write BuildKit's JSON, as {"version":1,"rules":[{"action":"DENY","selector":{"identifier":"*"}}]}`)
	}
	return p, nil
}

// check is what is wrong with the rules, all of it.
func (p *Policy) check() error {
	var wrong []error
	// Clients that are older than the field write none.
	if v := p.Rules.Version; v != 0 && v != version {
		wrong = append(wrong, fmt.Errorf("its version is %d, not %d", v, version))
	}
	if len(p.Rules.Rules) == 0 {
		wrong = append(wrong, errors.New("it has no rules"))
	}
	for i, r := range p.Rules.Rules {
		if r == nil || r.Selector == nil || r.Selector.Identifier == "" {
			wrong = append(wrong, fmt.Errorf("rule %d selects nothing", i+1))
			continue
		}
		if r.Action == spb.PolicyAction_CONVERT && r.Updates == nil {
			wrong = append(wrong, fmt.Errorf("rule %d converts to nothing", i+1))
		}
		// A pattern that cannot be one is found by trying it.
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

// Git holds this program's own look-up of a ref to the policy, as the builder does with
// the commit that it fetches. A source that is not allowed, or that a rule converts, is a
// fault.Usage that names the rule.
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
		return fault.New(fault.Usage, "the source policy "+p.file+" converts the source", fmt.Errorf("%s becomes %s", identifier, op.Identifier), "name that one with --source")
	}
	return nil
}

// refused is how a builder says that it did.
var refused = regexp.MustCompile(`source "([^"]+)" denied by policy`)

// Explain turns a builder's refusal into a fault that names the rule; nil for any other
// error.
func (p *Policy) Explain(err error) error {
	if p == nil || err == nil {
		return nil
	}
	if m := refused.FindStringSubmatch(err.Error()); m != nil {
		return p.denied(m[1])
	}
	return nil
}

// denied is the fault of a source that the policy refuses.
func (p *Policy) denied(identifier string) error {
	why := fmt.Errorf("%s is denied", identifier)
	// The last rule that matches counts. What its conditions are about, only a builder
	// knows.
	for i, r := range p.Rules.Rules {
		if r.Action != spb.PolicyAction_DENY {
			continue
		}
		bare := &spb.Rule{Action: r.Action, Selector: &spb.Selector{Identifier: r.Selector.Identifier, MatchType: r.Selector.MatchType}}
		if _, err := p.evaluate([]*spb.Rule{bare}, identifier, nil); errors.Is(err, sourcepolicy.ErrSourceDenied) {
			why = fmt.Errorf("%s is denied by rule %d, DENY %s", identifier, i+1, r.Selector.Identifier)
		}
	}
	return fault.New(fault.Usage, "the source policy "+p.file+" refuses a source", why, "name a source that it allows, or add a rule after that one: ALLOW "+strings.SplitN(identifier, "@", 2)[0])
}
