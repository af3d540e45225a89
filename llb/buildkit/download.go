package buildkit

import (
	"context"
	"errors"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb"
	"github.com/moby/buildkit/client"
	bkllb "github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
)

// Download fetches packages by their hash into a folder of this machine, as a build of
// the job's plan would fetch them: on one of its bases, from the archives that this
// knows, else from those that keep old packages.
func (b *Builder) Download(ctx context.Context, j Job, base images.BaseFacts, packages []images.Package, dir string) error {
	return b.files(ctx, j, "the packages cannot be fetched", dir, func(opt llb.Options) (bkllb.State, error) {
		return llb.Download(j.Plan, j.Capabilities, opt, base, packages)
	})
}

// DownloadNPM fetches the web UI's packages into a folder: NPMContent and NPMLock of
// package llb.
func (b *Builder) DownloadNPM(ctx context.Context, j Job, dir string) error {
	return b.files(ctx, j, "the web UI's packages cannot be fetched", dir, func(opt llb.Options) (bkllb.State, error) {
		return llb.DownloadNPM(j.Plan, j.Capabilities, opt)
	})
}

// files solves a state and leaves its files in a folder.
func (b *Builder) files(ctx context.Context, j Job, what, dir string, state func(llb.Options) (bkllb.State, error)) error {
	solve, opt, err := j.solve()
	if err != nil {
		return err
	}
	solve.Exports = []client.ExportEntry{{Type: client.ExporterLocal, OutputDir: dir}}
	tail := newTail(j.Status)
	_, err = b.run(ctx, solve, tail.update, func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		opt := opt
		if opt.Session = gw.BuildOpts().SessionID; sends(opt) && opt.Session == "" {
			return nil, errNoSession
		}
		st, err := state(opt)
		if err != nil {
			return nil, err
		}
		def, err := st.Marshal(ctx)
		if err != nil {
			return nil, err
		}
		tail.knows(def)
		return gw.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true})
	})
	if err != nil {
		return b.explain(ctx, what, err, tail)
	}
	return nil
}

var errNoSession = errors.New("the builder does not tell its session, without which it could take another build's files")
