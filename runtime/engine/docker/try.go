package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

// tryPoll is how often a server that loads a model is looked at.
const tryPoll = 250 * time.Millisecond

// Try implements engine.Prober. The container is confined as a server's is, and has no
// network, no device, no variable of the user's, and no mount but the model's files.
func (d *Engine) Try(ctx context.Context, s engine.Spec, limit time.Duration) (err error) {
	s = alone(s.WithDefaults())
	cmd, probe, err := d.serverOfImage(ctx, s)
	if err != nil {
		return err
	}
	seen, mounts, err := d.showAlone(ctx, s, probe)
	if err != nil {
		return err
	}
	cmd = slices.Concat(cmd, engine.ServerAddress(engine.DefaultListen, serverPort), engine.ServerModel(modelPath(seen)), s.Flags)
	c := helper(s, Placement{Mounts: mounts, LogDriver: "json-file"}, cmd)
	c.Config.Env = env(s)
	if probe != "" {
		c.Config.Healthcheck = &container.HealthConfig{Test: []string{"CMD", probe, "health"}, Interval: tryPoll, Timeout: 5 * time.Second, StartPeriod: limit}
	}
	id, err := d.create(ctx, c)
	if err != nil {
		return explain(s, err)
	}
	defer func() { err = errors.Join(err, d.discard(ctx, id)) }()
	if err := d.api.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return explain(s, err)
	}
	return d.awaitLoaded(ctx, id, limit)
}

// alone is a Spec with nothing but its model.
func alone(s engine.Spec) engine.Spec {
	s.Flags, s.Env = engine.TryFlags(s.Flags), nil
	if s.GPUs != "" {
		// A model that is for a GPU's memory need not be in this machine's: it stays mapped,
		// and is not rearranged for the CPU.
		s.Env = []string{"LLAMA_ARG_REPACK=0"}
	}
	s.GPUs, s.Device, s.GPUCache, s.Files, s.Volumes = "", "", false, nil, nil
	return s
}

// serverOfImage is the command of an image's server, and the path of our probe in it,
// empty where it has none.
func (d *Engine) serverOfImage(ctx context.Context, s engine.Spec) (cmd []string, probe string, err error) {
	if probe, err = d.probeOf(ctx, s); err != nil {
		return nil, "", err
	}
	if len(s.Entrypoint) > 0 {
		return s.Entrypoint, probe, nil
	}
	img, err := d.api.ImageInspect(ctx, s.Image)
	if err != nil {
		return nil, "", d.lost(ctx, err)
	}
	if img.Config == nil || len(img.Config.Entrypoint) == 0 {
		return nil, "", fmt.Errorf("%w: the image %s names no program", engine.ErrUntried, s.ImageRef)
	}
	return img.Config.Entrypoint, probe, nil
}

// showAlone makes the model's files visible and nothing beside them, and where an engine
// cannot show single files, as the server is going to see them. It returns the model as
// it is seen.
func (d *Engine) showAlone(ctx context.Context, s engine.Spec, probe string) (engine.Model, []mount.Mount, error) {
	base := Placement{LogDriver: "json-file"}
	if d.endpoint.Local {
		single := s
		single.Model.HostDir = ""
		seen, err := shownModel(single.Model)
		if err != nil {
			return s.Model, nil, err
		}
		p := &placer{d: d, s: single, probe: probe, base: base, shown: seen}
		if mounts, err := p.bind(ctx); err == nil && p.prove(ctx, mounts, seen.files) == nil {
			return single.Model, mounts, nil
		}
		if ctx.Err() != nil {
			return s.Model, nil, context.Cause(ctx)
		}
	}
	seen, err := shownModel(s.Model)
	if err != nil {
		return s.Model, nil, err
	}
	p := &placer{d: d, s: s, probe: probe, base: base, shown: seen}
	mounts, err := p.place(ctx)
	return s.Model, mounts, err
}

// awaitLoaded waits until a server has loaded its model.
func (d *Engine) awaitLoaded(ctx context.Context, id string, limit time.Duration) error {
	late := fmt.Errorf("it was not loaded within %v", limit)
	waiting, cancel := context.WithTimeoutCause(ctx, limit, late)
	defer cancel()
	ended, failed := d.api.ContainerWait(waiting, id, container.WaitConditionNotRunning)
	tick := time.NewTicker(tryPoll)
	defer tick.Stop()
	for {
		select {
		case <-waiting.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return notLoaded(late, engine.State{}, d.lastLines(ctx, engine.Server{ID: id}, tryLines))
		case <-ended:
			now, err := d.inspect(ctx, id)
			if err != nil {
				return d.lost(ctx, err)
			}
			end := &engine.Ended{State: now.State}
			return notLoaded(end, now.State, d.lastLines(ctx, engine.Server{ID: id}, tryLines))
		case err := <-failed:
			if waiting.Err() == nil {
				return d.lost(ctx, err)
			}
			failed = nil // the context says why
		case <-tick.C:
			if loaded, err := d.hasLoaded(waiting, id); loaded || err != nil && waiting.Err() == nil {
				return err
			}
		}
	}
}

// tryLines is how many last lines of a server are shown that did not load a model.
const tryLines = 15

// hasLoaded reports whether a server has loaded its model: by its health where the image
// brings our probe along, else by its own words.
func (d *Engine) hasLoaded(ctx context.Context, id string) (bool, error) {
	c, err := d.api.ContainerInspect(ctx, id)
	if err != nil {
		if errdefs.IsNotFound(err) {
			err = engine.ErrGone
		}
		return false, err
	}
	if c.State != nil && c.State.Health != nil {
		return c.State.Health.Status == container.Healthy, nil
	}
	for _, line := range d.lastLines(ctx, engine.Server{ID: id}, tryLines) {
		if strings.Contains(line, "model loaded") || strings.Contains(line, "server is listening") {
			return true, nil
		}
	}
	return false, nil
}

// notLoaded is the error of a model that a server alone did not load.
func notLoaded(why error, s engine.State, lines []string) error {
	const what = "the model was not loaded alone in a container"
	switch {
	case s.OOMKilled:
		return fault.New(fault.Engine, what, why, "give it more `memory`, take a smaller model, or skip this with `trust`").WithLines(lines)
	case s.Signal == 0 && (s.ExitCode == 126 || s.ExitCode == 127):
		return fmt.Errorf("%w: %w", engine.ErrUntried, why)
	case s.Signal != 0:
		return fault.New(fault.Model, what, why, "do not serve this file: reading it ends the server; `trust` skips this for a model that you trust").WithLines(lines)
	}
	return fault.New(fault.Model, what, why, "see the server's last lines; `trust` skips this for a model that you trust").WithLines(lines)
}
