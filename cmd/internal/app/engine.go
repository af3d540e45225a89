package app

import (
	"context"
	"errors"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/engine/docker"
)

// dockerEngine is a Docker engine that answered.
type dockerEngine struct {
	// client is for builds only.
	client *client.Client
	at     engine.Endpoint
	// local is true if the engine shares this machine's loopback and CPU.
	local bool
}

func (a *App) engine(ctx context.Context) (*dockerEngine, error) {
	c, at, err := docker.Discover(ctx, docker.Options{Getenv: a.Getenv})
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	return &dockerEngine{client: c, at: at, local: at.Local}, nil
}

// servers returns the engine's run interface. d shows the copying of a model into the
// engine, and may be nil.
func (e *dockerEngine) servers(d *Display) engine.Engine {
	if d == nil {
		return docker.New(e.client, e.at, nil)
	}
	var copying *Step
	return docker.New(e.client, e.at, func(done, total int64) {
		if copying == nil {
			copying = d.Begin("copy what the server reads into the engine", total)
		}
		copying.Set(done)
		if done == total {
			copying.End(nil)
			copying = nil // what comes next is another file
		}
	})
}

// remote is the engine's address in handoffs; empty for a local engine.
func (e *dockerEngine) remote() string {
	if e.local {
		return ""
	}
	return e.at.Host
}

// Close ends the connection.
func (e *dockerEngine) Close() error { return e.client.Close() }

// imageOf is an image in the engine.
type imageOf = docker.Image

// images lists the engine's images that have a label, newest first.
func (e *dockerEngine) images(ctx context.Context, label string) ([]imageOf, error) {
	return docker.Images(ctx, e.client, label)
}

// image looks up an image by name or id. errdefs.IsNotFound holds for the error of a
// missing image.
func (e *dockerEngine) image(ctx context.Context, name string) (imageOf, error) {
	return docker.InspectImage(ctx, e.client, name)
}

// fitting returns the newest image that a build would reproduce and that runs on this
// machine. An empty fit digest matches nothing.
func (e *dockerEngine) fitting(ctx context.Context, fit string, w platformBuild) (imageOf, bool, error) {
	if fit == "" {
		return imageOf{}, false, nil
	}
	found, err := e.images(ctx, images.LabelFit+"="+fit)
	if err != nil {
		return imageOf{}, false, err
	}
	level := w.Request.CPU
	if level == images.CPUNative {
		level = w.cpuLevel
	}
	for _, img := range found {
		has := img.Labels[images.LabelCPU]
		if has == level || !w.CPUChosen && images.RunsOnLevel(w.Request.Arch(), has, w.cpuLevel) {
			return img, true, nil
		}
	}
	return imageOf{}, false, nil
}

// choose returns the image to run: the named one, else the newest that was built here for
// the engine's platform.
func (e *dockerEngine) choose(ctx context.Context, name string) (imageOf, error) {
	if name != "" {
		img, err := e.image(ctx, name)
		if errdefs.IsNotFound(err) {
			return img, fault.New(fault.Usage, "the engine has no image "+name, nil, "build it with llorch-bk build --tag "+name+", or get it with docker pull "+name)
		}
		if errdefs.IsInvalidArgument(err) {
			return img, fault.New(fault.Usage, "invalid image name "+name, err, "write it as registry.example.com/name:tag, or as an id")
		}
		if err != nil {
			return img, fault.New(fault.Machine, "cannot look up the image "+name, err, "")
		}
		img.Ref = name
		return img, nil
	}
	found, err := e.images(ctx, images.LabelVariant)
	if err != nil {
		return imageOf{}, err
	}
	if len(found) == 0 {
		return imageOf{}, fault.New(fault.Usage, "no image to run", errors.New("none was built here yet"), "build and run one with llorch-bk up, or only build with llorch-bk build")
	}
	// A bare `run` does not mean an image that was built for other machines.
	own := "linux/" + engineArch(ctx, e)
	if i := slices.IndexFunc(found, func(img imageOf) bool { return img.Platform == "" || img.Platform == own }); i >= 0 {
		return found[i], nil
	}
	return found[0], nil
}

// runsHere refuses an image whose instructions this machine's CPU lacks. Such a server
// would die of an illegal instruction.
func (e *dockerEngine) runsHere(img imageOf, arch string) error {
	level := img.Labels[images.LabelCPU]
	if level == "" || !e.local {
		return nil
	}
	machine := machineLevel(arch)
	if machine == "" || images.RunsOnLevel(arch, level, machine) {
		return nil
	}
	return fault.New(fault.Machine, "the image "+img.Ref+" does not run on this machine's CPU",
		errors.New("it was built for "+level+", and this machine is "+machine), "build one that does: llorch-bk build --cpu native, or --cpu portable")
}

// shortRefs shortens image names as docker prints them.
func shortRefs(refs []string) []string {
	out := make([]string, len(refs))
	for i, r := range refs {
		out[i] = r
		if named, err := reference.ParseNormalizedNamed(r); err == nil {
			out[i] = reference.FamiliarString(named)
		}
	}
	return out
}
