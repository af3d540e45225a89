package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
)

// Instance is a server's container. Its fields are what was true when it was
// started or found; Inspect asks again.
type Instance struct {
	// ID and Name are the container's.
	ID, Name string
	// Project, Pool and Replica are its place.
	Project, Pool, Replica string
	// RunDigest is that of the Spec it was made from.
	RunDigest string
	// Image is the image's id, ImageRef the name that it was asked for by.
	Image, ImageRef string
	// Port is the host's; URL is the server's base, without a final slash.
	Port int
	URL  string
	// Handoff is the path of the handoff file, ModelPath the model's on the host.
	Handoff, ModelPath string
	// Labels are all of the container's, the image's among them.
	Labels map[string]string
	// State is how it was.
	State State

	d *Docker
}

// State is what an engine knows about a container at a moment.
type State struct {
	// Status is docker's word for it: created, running, restarting, exited …
	Status string
	// Running is whether its process runs now, which it does not between restarts.
	Running bool
	// ExitCode is the last exit's; 128 and more is 128 plus a signal's number.
	ExitCode int
	// Signal is the number of the signal that ended it, 0 for none.
	Signal int
	// OOMKilled is whether the kernel killed it for lack of memory.
	OOMKilled bool
	// Error is the engine's own, when it could not start or restart it.
	Error string
	// StartedAt and FinishedAt are the last start's and end's times, zero before.
	StartedAt, FinishedAt time.Time
	// Health is docker's word from the image's own probe, empty where it has none.
	Health string
	// Restarts is how often the engine has restarted it.
	Restarts int
}

func (d *Docker) instance(c container.InspectResponse) *Instance {
	i := &Instance{d: d, State: stateOf(c)}
	if c.ContainerJSONBase != nil {
		i.ID, i.Name, i.Image = c.ID, strings.TrimPrefix(c.Name, "/"), c.Image
	}
	if c.Config != nil {
		l := c.Config.Labels
		i.Labels = l
		i.Project, i.Pool, i.Replica = l[LabelProject], l[LabelPool], l[LabelReplica]
		i.RunDigest, i.ImageRef = l[LabelRunDigest], l[LabelImageRef]
		i.URL, i.Handoff, i.ModelPath = l[LabelURL], l[LabelHandoff], l[LabelModelHost]
		i.Port, _ = strconv.Atoi(l[LabelPort]) // written by us; 0 is unknown
	}
	return i
}

func sortByName(list []*Instance) {
	slices.SortFunc(list, func(a, b *Instance) int { return strings.Compare(a.Name, b.Name) })
}

func stateOf(c container.InspectResponse) State {
	if c.ContainerJSONBase == nil || c.State == nil {
		return State{}
	}
	s := c.State
	out := State{
		Status: s.Status, Running: s.Running && !s.Restarting && !s.Paused, ExitCode: s.ExitCode,
		OOMKilled: s.OOMKilled, Error: s.Error, Restarts: c.RestartCount,
	}
	// An init passes on how its child ended in this form, as a shell does.
	if n := s.ExitCode - 128; n > 0 && n <= 64 {
		out.Signal = n
	}
	out.StartedAt, _ = time.Parse(time.RFC3339Nano, s.StartedAt) // "" or year 1 is never
	out.FinishedAt, _ = time.Parse(time.RFC3339Nano, s.FinishedAt)
	if s.Health != nil {
		out.Health = s.Health.Status
	}
	return out
}

// ErrGone is a container that does not exist any more.
var ErrGone = errors.New("the container was removed")

// Inspect asks how the container is now; ErrGone where there is none.
func (i *Instance) Inspect(ctx context.Context) (State, error) {
	c, err := i.d.api.ContainerInspect(ctx, i.ID)
	if errdefs.IsNotFound(err) {
		return State{}, ErrGone
	}
	if err != nil {
		return State{}, err
	}
	return stateOf(c), nil
}

// Same is nil when the process that was started or found runs, and still is the
// one: not stopped, nor restarted since.
func (i *Instance) Same(ctx context.Context) error {
	now, err := i.Inspect(ctx)
	switch {
	case err != nil:
		return err
	case !now.Running:
		return fmt.Errorf("the container is %s", now.Status)
	case !now.StartedAt.Equal(i.State.StartedAt):
		return errors.New("the container was restarted")
	}
	return nil
}

// Stop asks the server to end, kills it when it has not after grace (rounded up
// to seconds), and removes the container. One that is gone is no error.
func (i *Instance) Stop(ctx context.Context, grace time.Duration) error {
	seconds := int(math.Ceil(max(0, grace.Seconds())))
	err := i.d.api.ContainerStop(ctx, i.ID, container.StopOptions{Signal: "SIGTERM", Timeout: &seconds})
	if errdefs.IsNotFound(err) {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	// What could not be stopped may yet be removed, which kills it.
	if rerr := i.Remove(ctx); rerr != nil {
		return errors.Join(err, rerr)
	}
	return nil
}

// Remove kills the server and removes the container. It returns when the name
// is free again; one that is gone is no error.
func (i *Instance) Remove(ctx context.Context) error {
	err := i.d.api.ContainerRemove(ctx, i.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if errdefs.IsConflict(err) {
		// Somebody else is at it.
		done, failed := i.d.api.ContainerWait(ctx, i.ID, container.WaitConditionRemoved)
		select {
		case <-done:
			return nil
		case err = <-failed:
		}
	}
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Activity grows with what the container does: 1000 is about a second's work of
// one CPU core, so it counts milliseconds. Half a mebibyte read or written counts
// as ten, so that a server that waits for a slow disk is not taken for dead.
func (i *Instance) Activity(ctx context.Context) (uint64, error) {
	r, err := i.d.api.ContainerStatsOneShot(ctx, i.ID)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	var s container.StatsResponse
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		return 0, err
	}
	var bytes uint64
	for _, e := range s.BlkioStats.IoServiceBytesRecursive {
		if op := strings.ToLower(e.Op); op == "read" || op == "write" {
			bytes += e.Value
		}
	}
	return s.CPUStats.CPUUsage.TotalUsage/uint64(time.Millisecond) + bytes*20>>20, nil
}
