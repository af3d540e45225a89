package buildkit

import (
	"context"
	"fmt"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/identity"
)

// Found are the packages of a distribution that a plan would be given now.
type Found struct {
	images.PackageSets
	// Distribution is the build base's, as os-release(5) has its ID.
	Distribution string
}

// Packages asks the archives of a plan's bases for the packages that it takes. The job
// is one that would build the plan.
func (b *Builder) Packages(ctx context.Context, j Job) (Found, error) {
	var found Found
	opt, graph, err := j.solve()
	if err != nil {
		return found, err
	}
	states, err := llb.ResolvePackages(j.Plan, j.Capabilities, graph, identity.NewID())
	if err != nil {
		return found, err
	}
	tail := newTail(j.Status)
	_, err = b.run(ctx, opt, tail.update, func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		// The build base comes first, whose distribution counts.
		for _, st := range states {
			def, err := st.Marshal(ctx)
			if err != nil {
				return nil, err
			}
			tail.knows(def)
			res, err := gw.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true})
			if err != nil {
				return nil, err
			}
			ref, err := res.SingleRef()
			if err != nil {
				return nil, err
			}
			data, err := ref.ReadFile(ctx, gateway.ReadRequest{Filename: llb.PackagesFile})
			if err != nil {
				return nil, fmt.Errorf("reading what was found: %w", err)
			}
			distribution, err := llb.ParsePackages(data, &found.PackageSets)
			if err != nil {
				return nil, err
			}
			if found.Distribution == "" {
				found.Distribution = distribution
			}
		}
		return gateway.NewResult(), nil
	})
	if err != nil {
		return found, b.explain(ctx, "the packages cannot be found", err, tail)
	}
	return found, nil
}
