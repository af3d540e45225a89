package buildkit

import (
	"context"
	"fmt"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/identity"
)

// Found are the packages that a distribution currently offers for a plan.
type Found struct {
	images.PackageSets
	// Distribution is the build base's ID in os-release(5).
	Distribution string
}

// Packages asks the archives of a plan's bases for the plan's packages. The job is the one
// that would build the plan.
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
		// The build base comes first. Its distribution is returned.
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
				return nil, fmt.Errorf("read the list of packages: %w", err)
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
		return found, b.explain(ctx, "cannot look up the packages", err, tail)
	}
	return found, nil
}
