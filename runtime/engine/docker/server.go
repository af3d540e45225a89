package docker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

// serverOf converts a container into a server. It is foreign if its labels do not match the
// replica in its name.
func serverOf(c container.InspectResponse) engine.Server {
	s := engine.Server{State: stateOf(c)}
	if c.ContainerJSONBase != nil {
		s.ID, s.Name, s.Image = c.ID, strings.TrimPrefix(c.Name, "/"), c.Image
	}
	if c.Config != nil {
		l := c.Config.Labels
		s.Labels = l
		s.Project, s.Pool, s.Replica = l[LabelProject], l[LabelPool], l[LabelReplica]
		s.RunDigest, s.ImageRef = l[LabelRunDigest], l[LabelImageRef]
		s.URL, s.Handoff, s.ModelPath = l[LabelURL], l[LabelHandoff], l[LabelModelHost]
		s.Port, _ = strconv.Atoi(l[LabelPort]) // written by this program; 0 means unknown
	}
	s.Standby = s.Name == s.Of().StandbyName()
	s.Foreign = !s.Standby && s.Name != s.Of().Name()
	return s
}

func stateOf(c container.InspectResponse) engine.State {
	if c.ContainerJSONBase == nil || c.State == nil {
		return engine.State{}
	}
	s := c.State
	out := engine.State{
		Status: s.Status, Running: s.Running && !s.Restarting && !s.Paused, ExitCode: s.ExitCode,
		OOMKilled: s.OOMKilled, Error: s.Error, Restarts: c.RestartCount,
	}
	// An init reports a child that a signal ended in this form, like a shell.
	if n := s.ExitCode - 128; n > 0 && n <= 64 {
		out.Signal = n
	}
	out.CreatedAt, _ = time.Parse(time.RFC3339Nano, c.Created)
	out.StartedAt, _ = time.Parse(time.RFC3339Nano, s.StartedAt) // "" or year 1 means never
	out.FinishedAt, _ = time.Parse(time.RFC3339Nano, s.FinishedAt)
	if s.Health != nil {
		out.Health = s.Health.Status
	}
	return out
}

// inspect reads a server's current state; engine.ErrGone if it no longer exists.
func (d *Engine) inspect(ctx context.Context, id string) (engine.Server, error) {
	c, err := d.api.ContainerInspect(ctx, id)
	if errdefs.IsNotFound(err) {
		return engine.Server{}, engine.ErrGone
	}
	if err != nil {
		return engine.Server{}, err
	}
	return serverOf(c), nil
}

// Start implements engine.Runner.
func (d *Engine) Start(ctx context.Context, s engine.Server) (engine.Server, error) {
	if err := d.api.ContainerStart(ctx, s.ID, container.StartOptions{}); err != nil {
		return s, d.refused(ctx, "cannot start the container "+s.Name+" again", err)
	}
	now, err := d.inspect(ctx, s.ID)
	if err != nil {
		return s, d.refused(ctx, "cannot read the state of the container "+s.Name, err)
	}
	return now, nil
}

// Promote implements engine.Runner.
func (d *Engine) Promote(ctx context.Context, s engine.Server) (engine.Server, error) {
	now, err := d.inspect(ctx, s.ID)
	if err != nil {
		return s, d.refused(ctx, "cannot rename the server to "+s.Of().Name(), err)
	}
	if !now.Standby {
		return now, nil // another process was faster
	}
	if err := d.api.ContainerRename(ctx, s.ID, s.Of().Name()); err != nil {
		if errdefs.IsConflict(err) {
			err = fmt.Errorf("%w: %w", engine.ErrTaken, err)
		}
		return s, d.refused(ctx, "cannot rename the server to "+s.Of().Name(), err)
	}
	now.Name, now.Standby = s.Of().Name(), false
	return now, nil
}

// Stop implements engine.Runner.
func (d *Engine) Stop(ctx context.Context, s engine.Server, grace time.Duration) error {
	seconds := int(math.Ceil(max(0, grace.Seconds()))) // engines take whole seconds
	err := d.api.ContainerStop(ctx, s.ID, container.StopOptions{Signal: "SIGTERM", Timeout: &seconds})
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return d.refused(ctx, "cannot stop the container "+s.Name, err)
	}
	return nil
}

// Remove implements engine.Runner. When it returns, the name is free again.
func (d *Engine) Remove(ctx context.Context, s engine.Server, grace time.Duration) error {
	err := d.Stop(ctx, s, grace)
	if ctx.Err() != nil {
		return err
	}
	// A container that cannot be stopped may still be removed, which kills it.
	if rerr := d.kill(ctx, s); rerr != nil {
		return errors.Join(err, rerr)
	}
	return nil
}

// kill removes a container, running or not.
func (d *Engine) kill(ctx context.Context, s engine.Server) error {
	err := d.api.ContainerRemove(ctx, s.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if errdefs.IsConflict(err) {
		// Another process is removing it.
		done, failed := d.api.ContainerWait(ctx, s.ID, container.WaitConditionRemoved)
		select {
		case <-done:
			return nil
		case err = <-failed:
		}
	}
	if err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	return d.refused(ctx, "cannot remove the container "+s.Name, err)
}

// refused is the error of a request that an engine did not carry out.
func (d *Engine) refused(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fault.New(fault.Engine, what, err, "see the log of the engine at "+d.endpoint.Host)
}
