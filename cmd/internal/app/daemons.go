package app

import (
	"context"
	"time"

	"github.com/llorch/llorch-bk/llb/builder"
	"github.com/llorch/llorch-bk/runtime/process"
)

// daemons runs the managed builder as a process of this machine. It connects the two
// halves, which do not import each other.
type daemons struct{}

var _ builder.Daemons = daemons{}

// Start implements builder.Daemons.
func (daemons) Start(ctx context.Context, argv, env []string, log string, ready func(context.Context) error) error {
	_, err := process.Daemon{Name: "the builder", Path: argv[0], Args: argv[1:], Env: env, Log: log, Ready: ready}.Start(ctx)
	return err
}

// EndListener implements builder.Daemons.
func (daemons) EndListener(ctx context.Context, socket string, grace time.Duration) error {
	p, ok, err := process.Listener(ctx, socket)
	if err != nil || !ok {
		return err
	}
	return p.End(ctx, grace)
}

// Unmount implements builder.Daemons.
func (daemons) Unmount(dir string) { process.Unmount(dir) }
