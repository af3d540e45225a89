package app

import (
	"context"

	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/pool"
	"github.com/llorch/llorch-bk/runtime/replica"
)

// LogsOptions select a log.
type LogsOptions struct {
	Pool, Replica, HandoffDir string
	Follow                    bool
}

// Logs prints a replica's log.
func (a *App) Logs(ctx context.Context, opt LogsOptions) error {
	dir, err := handoff.Resolve(opt.HandoffDir)
	if err != nil {
		return err
	}
	eng, err := a.engine(ctx)
	if err != nil {
		return err
	}
	defer eng.Close()
	on, id := eng.servers(nil), replica.ID{Project: dir, Pool: opt.Pool, Replica: opt.Replica}
	found, err := on.Observe(ctx, dir)
	if err != nil {
		return interrupted(ctx, err)
	}
	for _, s := range found {
		if s.Of() == id && !s.Foreign {
			return interrupted(ctx, on.Logs(ctx, s, a.Out, engine.LogOptions{Follow: opt.Follow}))
		}
	}
	return pool.NoPool(id.String())
}
