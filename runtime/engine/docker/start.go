package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

const (
	// portAttempts is how many free ports are tried after clashes.
	portAttempts = 5
	// createPatience bounds a request that is completed even after Ctrl-C.
	createPatience = time.Minute
)

// Prepare implements engine.Runner. It proves that a container with the Spec's limits can
// read the model. Volumes that show a model are kept after an error, since other servers may
// use them.
func (d *Engine) Prepare(ctx context.Context, s engine.Spec) (engine.Prepared, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	s = s.WithDefaults()
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
	model, err := shownModel(s.Model)
	if err != nil {
		return nil, err
	}
	probe, err := d.probeOf(ctx, s)
	if err != nil {
		return nil, err
	}
	gpus, err := d.access(ctx, s)
	if err != nil {
		return nil, err
	}
	p := placer{d: d, s: s, probe: probe, base: Placement{LogDriver: facts.LogDriver}, shown: model}
	mounts, err := p.place(ctx)
	if err != nil {
		return nil, err
	}
	beside, secrets, err := p.placeFiles(ctx)
	if err != nil {
		return nil, err
	}
	mounts = slices.Concat(mounts, beside, stateMounts(s))
	return &prepared{d: d, s: s, at: Placement{Mounts: mounts, LogDriver: facts.LogDriver, GPUs: gpus}, secrets: secrets}, nil
}

// probeOf is the path of the static probe in the image; empty if it has none.
func (d *Engine) probeOf(ctx context.Context, s engine.Spec) (string, error) {
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

// prepared is a container that is ready to be created.
type prepared struct {
	d *Engine
	s engine.Spec
	// at says how it is granted; Create adds the name and the port.
	at Placement
	// secrets are the files that are put into the container once it is made.
	secrets []shown
	// attempt counts the ports that were tried.
	attempt int
}

// Create implements engine.Prepared.
func (p *prepared) Create(ctx context.Context, standby bool) (engine.Server, error) {
	d, at := p.d, p.at
	at.Name = p.s.Of().Name()
	if standby {
		at.Name = p.s.Of().StandbyName()
	}
	var err error
	if at.Port, err = d.choosePort(ctx, p.s, p.attempt, standby); err != nil {
		return engine.Server{}, err
	}
	at.URL = urlFor(d.endpoint, p.s.Listen, at.Port)
	id, err := d.create(ctx, ContainerOf(p.s, at))
	if errdefs.IsConflict(err) {
		return engine.Server{}, fault.New(fault.Engine, "the name "+at.Name+" is taken", errors.Join(engine.ErrTaken, err), "see what uses the name with `docker ps -a`")
	}
	if err != nil {
		return engine.Server{}, p.failed(ctx, err)
	}
	if err := p.equip(ctx, id); err != nil {
		return engine.Server{}, p.failed(ctx, errors.Join(err, d.discard(ctx, id)))
	}
	made, err := d.inspect(ctx, id)
	if err != nil {
		return engine.Server{}, p.failed(ctx, errors.Join(err, d.discard(ctx, id)))
	}
	return made, nil
}

// equip puts into a container what it must have before it starts.
func (p *prepared) equip(ctx context.Context, id string) error {
	if p.s.GPUCache {
		if err := p.d.own(ctx, id, cacheDir, p.s.User, "cuda", "mesa"); err != nil {
			return fmt.Errorf("the GPU's cache: %w", err)
		}
	}
	if len(p.s.Volumes) > 0 {
		var names []string
		for _, v := range p.s.Volumes {
			names = append(names, v.Name)
		}
		if err := p.d.own(ctx, id, engine.StateRoot, p.s.User, names...); err != nil {
			return fmt.Errorf("the folder that the server writes to: %w", err)
		}
	}
	for _, f := range p.secrets {
		if err := p.d.stream(ctx, id, f.root, f.files); err != nil {
			return fmt.Errorf("%s: %w", f.host, err)
		}
	}
	return nil
}

// Start implements engine.Prepared.
func (p *prepared) Start(ctx context.Context, s engine.Server) (engine.Server, error) {
	for {
		err := p.d.api.ContainerStart(ctx, s.ID, container.StartOptions{})
		if err == nil {
			now, err := p.d.inspect(ctx, s.ID)
			if err != nil {
				return s, p.failed(ctx, err) // it runs; the caller removes it
			}
			return now, nil
		}
		if ctx.Err() != nil || !isPortClash(err) {
			return s, p.failed(ctx, err)
		}
		if p.attempt++; p.s.Port != 0 || p.attempt == portAttempts {
			return s, p.d.portInUse(ctx, p.s, s.Port, err)
		}
		if err := p.d.kill(ctx, s); err != nil {
			return s, err
		}
		again, err := p.Create(ctx, s.Standby)
		if err != nil {
			return s, err
		}
		s = again
	}
}

// failed is the error of a container that could not be created or started.
func (p *prepared) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), fault.Leftovers(err))
	}
	return explain(p.s, err)
}

// create creates a container and returns its id. It waits for the answer even if ctx ends:
// the engine would create the container anyway, and without the id it could not be removed.
func (d *Engine) create(ctx context.Context, c Container) (string, error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	whole, cancel := detached(ctx, createPatience)
	defer cancel()
	made, err := d.api.ContainerCreate(whole, c.Config, c.Host, c.Networking, nil, c.Name)
	if err != nil {
		return "", err
	}
	return made.ID, nil
}

// discard removes a container, running or not, even after ctx has ended.
func (d *Engine) discard(ctx context.Context, id string) error {
	ctx, cancel := detached(ctx, 30*time.Second)
	defer cancel()
	err := d.api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err == nil || errdefs.IsNotFound(err) || errdefs.IsConflict(err) { // gone, or being removed
		return nil
	}
	return &fault.Leftover{What: fmt.Sprintf("the container %.12s was not removed", id), Why: err, Do: "docker rm -f " + id[:min(12, len(id))]}
}

// own creates folders in a mounted volume for the server's user: new volumes belong to root.
func (d *Engine) own(ctx context.Context, id, dir, user string, names ...string) error {
	uid, gid, err := idsOf(user)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, Uid: uid, Gid: gid}); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return d.api.CopyToContainer(ctx, id, dir, &b, container.CopyToContainerOptions{})
}

// idsOf are the numbers of a user "uid:gid".
func idsOf(user string) (uid, gid int, err error) {
	first, second, _ := strings.Cut(user, ":")
	if uid, err = strconv.Atoi(first); err != nil {
		return 0, 0, err
	}
	gid, _ = strconv.Atoi(second) // none is root's group, as docker has it
	return uid, gid, nil
}

func noInit(err error) error {
	return fault.New(fault.Machine, "the Docker engine has no init for containers (docker-init)", err,
		"install it (on Debian and Ubuntu: `apt-get install tini`), or run `llorch-bk setup`")
}

// explain turns an engine's error into a fault about the request. Engines give no codes for
// these causes, so it matches their texts, which have not changed since 20.10.
func explain(s engine.Spec, err error) error {
	var f *fault.Fault
	if errors.As(err, &f) {
		return err
	}
	text := err.Error()
	has := func(part string) bool { return strings.Contains(text, part) }
	switch {
	case has("could not select device driver") || has("nvidia-container") || has("libnvidia-ml") || has("CDI device") || has("unresolvable CDI"):
		return fault.New(fault.Engine, "the Docker engine cannot give containers a GPU", err,
			"install the NVIDIA driver and NVIDIA's container toolkit (see `llorch-bk doctor`), or run on the CPU with `allow-cpu`")
	case has("docker-init") || has("init binary"):
		return noInit(err)
	case has("exec format error"):
		return fault.New(fault.Engine, "the image is for another CPU architecture", err, "build one for this machine with `llorch-bk build`")
	}
	name := s.ImageRef
	if name == "" {
		name = s.Image
	}
	return fault.New(fault.Engine, "the engine could not start "+name, err, "")
}
