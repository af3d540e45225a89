package buildkit

import (
	"context"
	"errors"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
)

// TakesPolicies says before anything is built that a builder would not hold to a source
// policy: one that is older than them takes no notice.
func (b *Builder) TakesPolicies(ctx context.Context) error {
	var lacks error
	_, err := b.run(ctx, client.SolveOpt{FrontendAttrs: map[string]string{}}, nil, func(_ context.Context, gw gateway.Client) (*gateway.Result, error) {
		lacks = b.lacksPolicies(gw)
		return gateway.NewResult(), nil
	})
	if err != nil {
		return b.explain(ctx, "the builder cannot be asked what it can do", err, nil)
	}
	return lacks
}

func (b *Builder) lacksPolicies(gw gateway.Client) error {
	caps := gw.BuildOpts().LLBCaps
	if caps.Supports(pb.CapSourcePolicy) == nil {
		return nil
	}
	return fault.New(fault.Machine, b.String()+" does not support source policies", errors.New("it is older than BuildKit 0.11"),
		"use a newer one: --builder managed, or unix://… or docker-container://…")
}

// held holds a build to the builder's policy, and refuses it on a builder that would not.
// What a build function returns loses its type on the way, so that *lacks keeps it.
func (b *Builder) held(opt *client.SolveOpt, build gateway.BuildFunc) (held gateway.BuildFunc, lacks *error) {
	lacks = new(error)
	if b.Policy == nil {
		return build, lacks
	}
	opt.SourcePolicy = b.Policy.Rules
	return func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		if *lacks = b.lacksPolicies(gw); *lacks != nil {
			return nil, *lacks
		}
		return build(ctx, gw)
	}, lacks
}
