package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/health"
	"github.com/llorch/llorch-bk/runtime/pool"
)

// operations carries out the operations of plans. It decides nothing.
type operations struct {
	d     *Display
	eng   engine.Engine
	files files
	// engineID and host identify the engine in handoffs; local is true if the engine runs on
	// this machine.
	engineID, host string
	local          bool
	// labels are the image's labels.
	labels map[string]string
	// grace is how long a server may take to end before it is killed.
	grace                 time.Duration
	timeout, stallTimeout time.Duration
	// tryLimit is how long a model may take to load alone; tried records a model that loaded.
	tryLimit time.Duration
	tried    func() error
	// describe makes the handoff of a ready server.
	describe func(ctx context.Context, s engine.Server) (handoff.Handoff, error)
	// healthy waits until a server is healthy; pause gives another process time to act.
	healthy func(ctx context.Context, s engine.Server, o health.Options) error
	pause   func(ctx context.Context) error

	prepared engine.Prepared
	// created is the id of the container that prepared created and did not start yet.
	created string
	// proof is the GPU proof of the server with the id in proven.
	proof  *handoff.GPU
	proven string
}

func (e *dockerEngine) operations(d *Display, eng engine.Engine, engineID string) *operations {
	return &operations{
		d: d, eng: eng, files: folder{}, engineID: engineID, host: e.remote(), local: e.local,
		grace: grace, describe: describe, pause: pause,
		healthy: func(ctx context.Context, s engine.Server, o health.Options) error {
			watching, stop := context.WithCancel(ctx)
			defer stop()
			return health.Wait(ctx, eng.Watch(watching, s), o)
		},
	}
}

// Do implements pool.Doer.
func (o *operations) Do(ctx context.Context, op pool.Op) (engine.Server, error) {
	var s engine.Server
	if op.Server != nil {
		s = *op.Server
	}
	switch op.Do {
	case pool.Probe:
		return s, o.probe(ctx, *op.Spec)
	case pool.Try:
		return s, o.try(ctx, *op.Spec)
	case pool.Prepare:
		return s, o.d.Do("prepare "+op.Replica.String(), func(*Step) (err error) {
			o.prepared, err = o.eng.Prepare(ctx, *op.Spec)
			return err
		})
	case pool.Create:
		made, err := o.prepared.Create(ctx, op.Standby)
		o.created = made.ID
		return made, err
	case pool.Confirm:
		return s, o.confirm(ctx, s)
	case pool.Start:
		return o.start(ctx, s)
	case pool.Wait:
		return s, o.wait(ctx, s)
	case pool.Prove:
		return s, o.prove(ctx, s)
	case pool.Publish:
		return s, o.publish(ctx, s)
	case pool.Withdraw:
		return s, o.files.Remove(op.Replica.Project, op.Replica.Pool, op.Replica.Replica, op.Handoff.Container)
	case pool.Stop:
		return s, o.d.Do("stop the old server of "+op.Replica.Pool, func(*Step) error { return o.eng.Stop(ctx, s, o.grace) })
	case pool.Remove:
		return s, o.eng.Remove(ctx, s, cmp.Or(op.Grace, o.grace))
	case pool.Promote:
		return o.eng.Promote(ctx, s)
	case pool.Await:
		return s, errors.Join(o.pause(ctx), pool.ErrAgain)
	}
	return s, fmt.Errorf("unknown operation %q", op.Do)
}

// Turn implements pool.Doer.
func (o *operations) Turn(_ pool.Op, err error) {
	o.d.notice("the GPU cannot be used; the server runs on the CPU: " + oneLine(err))
}

func (o *operations) probe(ctx context.Context, spec engine.Spec) error {
	err := o.d.Do("look for the GPU", func(s *Step) error {
		return findGPU(ctx, s, o.eng, o.local, spec, o.labels)
	})
	if fault.ClassOf(err) == fault.Engine && ctx.Err() == nil {
		return pool.Because(err, pool.NoGPU)
	}
	return err
}

// confirm returns pool.ErrAgain if the server no longer has its name.
func (o *operations) confirm(ctx context.Context, s engine.Server) error {
	found, err := o.eng.Observe(ctx, s.Project, s.Name)
	if err != nil {
		return err
	}
	for _, now := range found {
		if now.ID == s.ID && now.Name == s.Name {
			return nil
		}
	}
	return pool.ErrAgain
}

// start starts the created container, or a server that was stopped.
func (o *operations) start(ctx context.Context, s engine.Server) (started engine.Server, err error) {
	err = o.d.Do("start "+s.Name, func(*Step) error {
		if s.ID == o.created && o.prepared != nil {
			started, err = o.prepared.Start(ctx, s)
		} else {
			started, err = o.eng.Start(ctx, s)
		}
		return err
	})
	return started, err
}

// wait waits until a server is healthy.
func (o *operations) wait(ctx context.Context, s engine.Server) error {
	err := o.d.Do("wait until "+s.URL+" is healthy", func(step *Step) error {
		var last health.Step
		return o.healthy(ctx, s, health.Options{
			Timeout: o.timeout, StallTimeout: o.stallTimeout,
			Progress: func(p health.Phase) {
				if p.Step != last {
					last = p.Step
					step.Note(string(p.Step))
				}
			},
		})
	})
	if fault.ClassOf(err) == fault.Engine && ctx.Err() == nil {
		return pool.Because(err, pool.Ended)
	}
	return err
}

func (o *operations) prove(ctx context.Context, s engine.Server) error {
	proof, err := proveGPU(ctx, o.eng, o.local, s)
	o.proof, o.proven = proof, s.ID
	return err
}

// publish writes the handoff of a server, if the server is unchanged.
func (o *operations) publish(ctx context.Context, s engine.Server) error {
	return o.d.Do("write the handoff", func(*Step) error {
		h, err := o.describe(ctx, s)
		if err != nil {
			return err
		}
		if s.ID == o.proven {
			h.GPU = o.proof
		}
		h.EngineHost, h.EngineID = o.host, o.engineID
		if err := o.same(ctx, s); err != nil {
			return fault.New(fault.Engine, "the server ended before its handoff was written", err, "see its state with llorch-bk ps")
		}
		if _, err := o.files.Write(s.Project, h); err != nil {
			return err
		}
		// A process without our locks may have removed the server since.
		if err := o.same(ctx, s); errors.Is(err, engine.ErrGone) {
			return errors.Join(
				fault.New(fault.Engine, "another program removed the server while its handoff was written", nil, "start it again"),
				o.files.Remove(s.Project, s.Pool, s.Replica, s.ID))
		}
		return nil
	})
}

// awaitPause is how long to wait for another process that starts a server, before observing
// again.
const awaitPause = 200 * time.Millisecond

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(awaitPause):
		return nil
	}
}

// same returns nil if a server still runs as it was started or found, and engine.ErrGone if
// it no longer exists.
func (o *operations) same(ctx context.Context, s engine.Server) error {
	found, err := o.eng.Observe(ctx, s.Project, s.ID)
	if err != nil {
		return err
	}
	for _, now := range found {
		switch {
		case now.ID != s.ID:
			continue
		case !now.State.Running:
			return fmt.Errorf("the container is %s", now.State.Status)
		case !now.State.StartedAt.Equal(s.State.StartedAt):
			return errors.New("the container was restarted")
		}
		return nil
	}
	return engine.ErrGone
}
