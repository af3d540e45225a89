package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
)

const (
	// portAttempts is how often another free port is tried after a clash.
	portAttempts = 5
	// createPatience bounds a request that we see through even when told to stop.
	createPatience = time.Minute
)

// Start makes and starts the server's container, once it is proven that the
// model can be read in it. The server then runs, but is not ready. Whatever was
// made on the way is gone again when there is an error, also when ctx ended;
// volumes through which a model is seen stay, since others may use them.
func (d *Docker) Start(ctx context.Context, s Spec) (*Instance, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	s = s.withDefaults()
	if err := d.checkReach(s); err != nil {
		return nil, err
	}
	facts, err := d.Facts(ctx)
	if err != nil {
		return nil, err
	}
	if facts.Init == "" {
		return nil, noInit(nil)
	}
	found, err := s.Model.files()
	if err != nil {
		return nil, err
	}
	probe, err := d.probeOf(ctx, s)
	if err != nil {
		return nil, err
	}
	// Before a model is copied for minutes: what would make it all in vain.
	if other, err := d.Find(ctx, s.Project, s.Pool, s.Replica); err != nil {
		return nil, err
	} else if other != nil {
		return nil, d.conflict(ctx, s)
	}
	if s.Port != 0 {
		if _, err := d.choosePort(ctx, s, 0); err != nil {
			return nil, err
		}
	}
	p := placer{d: d, s: s, files: found, probe: probe, base: Placement{LogDriver: facts.LogDriver}}
	mounts, err := p.place(ctx)
	if err != nil {
		return nil, err
	}
	return d.launch(ctx, s, mounts, facts.LogDriver)
}

// probeOf is the path of the static probe in the image, empty where it has none.
func (d *Docker) probeOf(ctx context.Context, s Spec) (string, error) {
	img, err := d.api.ImageInspect(ctx, s.Image)
	switch {
	case errdefs.IsNotFound(err):
		name := s.ImageRef
		if name == "" {
			name = s.Image
		}
		return "", fault.New(fault.Engine, "the engine has no image "+name, nil, "build one with `llorch-bk build`")
	case err != nil:
		return "", d.lost(ctx, err)
	case img.Config == nil:
		return "", nil
	}
	return img.Config.Labels[images.LabelProbe], nil
}

// launch starts the container, on another port where the first was taken.
func (d *Docker) launch(ctx context.Context, s Spec, mounts []mount.Mount, logDriver string) (*Instance, error) {
	for attempt := 0; ; attempt++ {
		port, err := d.choosePort(ctx, s, attempt)
		if err != nil {
			return nil, err
		}
		i, err := d.try(ctx, s, Placement{
			Mounts: mounts, Port: port, LogDriver: logDriver, URL: urlFor(d.endpoint, s.Listen, port),
		})
		switch {
		case err == nil:
			return i, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case isPortClash(err) && (s.Port != 0 || attempt+1 == portAttempts):
			return nil, d.portInUse(ctx, s, port, err)
		case !isPortClash(err):
			return nil, explain(s, err)
		}
	}
}

// try makes one container and starts it, or leaves none.
func (d *Docker) try(ctx context.Context, s Spec, p Placement) (_ *Instance, err error) {
	id, err := d.create(ctx, s.Container(p))
	if errdefs.IsConflict(err) {
		return nil, d.conflict(ctx, s)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.discard(ctx, id))
		}
	}()
	if s.GPUCache {
		if err := d.ownCache(ctx, id, s.User); err != nil {
			return nil, fmt.Errorf("the GPU's cache: %w", err)
		}
	}
	if err := d.api.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return nil, err
	}
	c, err := d.api.ContainerInspect(ctx, id)
	if err != nil {
		return nil, err
	}
	return d.instance(c), nil
}

// create makes a container and returns its id. It is seen through once begun:
// an engine makes the container whether or not we wait, and one whose id nobody
// heard could not be removed.
func (d *Docker) create(ctx context.Context, c Container) (string, error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	whole, cancel := aside(ctx, createPatience)
	defer cancel()
	made, err := d.api.ContainerCreate(whole, c.Config, c.Host, c.Networking, nil, c.Name)
	if err != nil {
		return "", err
	}
	return made.ID, nil
}

// discard removes a container, whatever it does, and also when ctx has ended.
func (d *Docker) discard(ctx context.Context, id string) error {
	ctx, cancel := aside(ctx, 30*time.Second)
	defer cancel()
	err := d.api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) { // gone, or about to be
		return nil
	}
	return err
}

// ownCache makes the cache volume's folders the server's: a new volume is root's.
func (d *Docker) ownCache(ctx context.Context, id, user string) error {
	first, second, _ := strings.Cut(user, ":")
	uid, err := strconv.Atoi(first)
	if err != nil {
		return err
	}
	gid, _ := strconv.Atoi(second) // none is root's group, as docker has it
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range []string{"cuda/", "mesa/"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, Uid: uid, Gid: gid}); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return d.api.CopyToContainer(ctx, id, cacheDir, &b, container.CopyToContainerOptions{})
}

// conflict is the error for a replica whose container exists already.
func (d *Docker) conflict(ctx context.Context, s Spec) error {
	state := "is being started by another llorch-bk"
	if other, err := d.Find(ctx, s.Project, s.Pool, s.Replica); err == nil && other != nil && other.State.Status != "created" {
		state = "has a container already, which is " + other.State.Status
	}
	return fault.New(fault.Engine, fmt.Sprintf("replica %s of pool %s %s", s.Replica, s.Pool, state), nil,
		"wait for it, or run `llorch-bk stop "+s.Pool+"` first")
}

func noInit(err error) error {
	return fault.New(fault.Machine, "the Docker engine has no init for containers (docker-init)", err,
		"install it (on Debian and Ubuntu: `apt-get install tini`), or run `llorch-bk setup`")
}

// explain puts an engine's refusal into terms of what was asked. Engines give
// no codes for these, so their texts, unchanged since 20.10, have to do.
func explain(s Spec, err error) error {
	var f *fault.Fault
	if errors.As(err, &f) {
		return err
	}
	text := err.Error()
	has := func(part string) bool { return strings.Contains(text, part) }
	switch {
	case has("could not select device driver") || has("nvidia-container") || has("libnvidia-ml") || has("CDI device") || has("unresolvable CDI"):
		return fault.New(fault.Engine, "the Docker engine cannot give containers a GPU", err,
			"install the NVIDIA driver and NVIDIA's container toolkit (see `llorch-bk doctor`), or run on the CPU with --allow-cpu")
	case has("docker-init") || has("init binary"):
		return noInit(err)
	case has("exec format error"):
		return fault.New(fault.Engine, "the image is for another kind of CPU", err, "build one for this machine with `llorch-bk build`")
	}
	name := s.ImageRef
	if name == "" {
		name = s.Image
	}
	return fault.New(fault.Engine, "the engine could not start "+name, err, "see `llorch-bk doctor`")
}
