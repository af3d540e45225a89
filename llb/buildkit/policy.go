package buildkit

import (
	"context"
	"errors"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
)

// TakesPolicies returns an error, before anything is built, if the builder would ignore a
// source policy because it is too old.
func (b *Builder) TakesPolicies(ctx context.Context) error {
	var lacks error
	_, err := b.run(ctx, client.SolveOpt{FrontendAttrs: map[string]string{}}, nil, func(_ context.Context, gw gateway.Client) (*gateway.Result, error) {
		lacks = b.lacksPolicies(gw)
		return gateway.NewResult(), nil
	})
	if err != nil {
		return b.explain(ctx, "cannot query the builder's capabilities", err, nil)
	}
	return lacks
}

func (b *Builder) lacksPolicies(gw gateway.Client) error {
	caps := gw.BuildOpts().LLBCaps
	if caps.Supports(pb.CapSourcePolicy) == nil {
		return nil
	}
	return fault.New(fault.Machine, b.String()+" does not support source policies", errors.New("it is older than BuildKit 0.11"),
		"use a newer builder: --builder managed, unix://… or docker-container://…")
}

// held applies the builder's policy to a build, and refuses the build if the builder would
// ignore the policy. An error of the build function loses its type on the way, so *lacks
// keeps it.
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
