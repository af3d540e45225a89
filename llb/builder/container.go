package builder

import (
	"cmp"
	"context"
	"errors"
	"io"
	"path"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	dockerclient "github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/buildkit"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// DefaultImage is the image of a managed builder. Its digest is the one that public
	// build configurations pin for this release.
	DefaultImage = "docker.io/moby/buildkit:v0.34.0@sha256:b059f8d7226d0b326bc871af489a5dddf65e36af4d20d14251b072974d9ee87c"
	// keptName is the name of the container that is kept, and of its volume.
	keptName = "llorch-bk-builder"
	// Label marks a managed builder's container and volume.
	Label = "dev.llorch.builder"
	// generation is the label's value. It is raised when containers are created in
	// another way, so that older ones are replaced. Their volume is kept.
	generation = "2"

	noContainer = "no builder can be started in a container"
)

// Containers is what a managed builder in a container needs of a Docker engine.
type Containers interface {
	ImageInspect(ctx context.Context, ref string, opts ...dockerclient.ImageInspectOption) (image.InspectResponse, error)
	ImagePull(ctx context.Context, ref string, opt image.PullOptions) (io.ReadCloser, error)
	ContainerInspect(ctx context.Context, id string) (container.InspectResponse, error)
	ContainerCreate(ctx context.Context, c *container.Config, h *container.HostConfig, n *network.NetworkingConfig, p *ocispec.Platform, name string) (container.CreateResponse, error)
	ContainerStart(ctx context.Context, id string, opt container.StartOptions) error
	ContainerRemove(ctx context.Context, id string, opt container.RemoveOptions) error
	CopyToContainer(ctx context.Context, id, dir string, content io.Reader, opt container.CopyToContainerOptions) error
	ContainerLogs(ctx context.Context, id string, opt container.LogsOptions) (io.ReadCloser, error)
	ContainerExecCreate(ctx context.Context, id string, opt container.ExecOptions) (container.ExecCreateResponse, error)
	ContainerExecAttach(ctx context.Context, id string, opt container.ExecAttachOptions) (types.HijackedResponse, error)
	VolumeRemove(ctx context.Context, id string, force bool) error
}

// openContainer connects to the builder's container, and creates or starts it first if
// needed. A container that was created in vain is removed.
func (m Manager) openContainer(ctx context.Context) (*buildkit.Builder, error) {
	c, err := m.Containers.ContainerInspect(ctx, m.name())
	switch {
	case errdefs.IsNotFound(err):
		return m.newContainer(ctx)
	case err != nil:
		return nil, fault.New(fault.Machine, noContainer, err, readEngineLog)
	}
	switch c.Config.Labels[Label] {
	case generation:
		return m.startContainer(ctx, c.ContainerJSONBase != nil && c.State != nil && c.State.Running)
	case "":
		return nil, fault.New(fault.Machine, noContainer, errors.New("a container of somebody else has the name "+m.name()), "rename or remove it")
	}
	return m.replaceContainer(ctx)
}

// newContainer creates and starts the container, or leaves nothing behind.
func (m Manager) newContainer(ctx context.Context) (*buildkit.Builder, error) {
	if err := m.createContainer(ctx); err != nil {
		return nil, err
	}
	b, err := m.startContainer(ctx, false)
	if err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialTimeout)
		defer cancel()
		err = errors.Join(err, m.removeContainer(clean))
	}
	return b, err
}

// replaceContainer replaces a container of an earlier version. The cache is in the
// volume, which the new container takes over.
func (m Manager) replaceContainer(ctx context.Context) (*buildkit.Builder, error) {
	m.notice("create the builder's container again; its cache is kept")
	if err := m.Containers.ContainerRemove(ctx, m.name(), container.RemoveOptions{Force: true}); err != nil && !errdefs.IsNotFound(err) {
		return nil, fault.New(fault.Machine, noContainer, err, readEngineLog)
	}
	if err := m.createContainer(ctx); err != nil {
		return nil, err
	}
	return m.startContainer(ctx, false)
}

// createContainer creates the container and its volume. BuildKit mounts file systems
// and starts containers, which an unprivileged container may not do.
func (m Manager) createContainer(ctx context.Context) error {
	ref := cmp.Or(m.Image, DefaultImage)
	if err := m.ensureImage(ctx, ref); err != nil {
		return err
	}
	m.notice("start a builder in the container " + m.name())
	_, err := m.Containers.ContainerCreate(ctx, &container.Config{
		Image: ref, Entrypoint: []string{"/bin/sh", "-c", startCommand, "buildkitd"}, Cmd: []string{"--oci-worker-gc=true", budget()},
		Labels: map[string]string{Label: generation},
	}, &container.HostConfig{
		Privileged: true,
		Mounts: []mount.Mount{{
			Type: mount.TypeVolume, Source: m.name(), Target: "/var/lib/buildkit",
			VolumeOptions: &mount.VolumeOptions{Labels: map[string]string{Label: generation}},
		}},
		LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m", "max-file": "3"}},
	}, nil, nil, m.name())
	// A conflict means that another command has just created it, which is as good.
	if err != nil && !errdefs.IsConflict(err) {
		return fault.New(fault.Machine, noContainer, err, readEngineLog)
	}
	return nil
}

// ensureImage pulls the builder's image unless the engine has it.
func (m Manager) ensureImage(ctx context.Context, ref string) error {
	const what = "the builder's image is not available"
	_, err := m.Containers.ImageInspect(ctx, ref)
	switch {
	case err == nil:
		return nil
	case !errdefs.IsNotFound(err):
		return fault.New(fault.Machine, what, err, readEngineLog)
	case m.Offline:
		return fault.New(fault.Machine, what, errors.New("the engine does not have "+ref+", and no network may be used"), nameAnother)
	}
	m.notice("pull the builder's image " + ref)
	answer, err := m.Containers.ImagePull(ctx, ref, image.PullOptions{})
	if err == nil {
		err = buildkit.ReadAnswer(answer)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return fault.New(fault.Machine, what, err, "name a mirror of it with LLORCH_BUILDER_IMAGE, or "+nameAnother)
}

// startContainer starts the container unless it runs, and waits until the daemon in it
// answers.
func (m Manager) startContainer(ctx context.Context, running bool) (*buildkit.Builder, error) {
	do := "read docker logs " + m.name()
	if !running {
		file, err := m.environmentArchive()
		if err == nil {
			err = m.Containers.CopyToContainer(ctx, m.name(), path.Dir(environment), file, container.CopyToContainerOptions{})
		}
		if err != nil {
			return nil, fault.New(fault.Machine, noContainer, err, do)
		}
	}
	// Starting a container that runs does nothing.
	if err := m.Containers.ContainerStart(ctx, m.name(), container.StartOptions{}); err != nil {
		return nil, fault.New(fault.Machine, noContainer, err, do)
	}
	var b *buildkit.Builder
	err := backoff.Retry(func() (err error) {
		if c, err := m.Containers.ContainerInspect(ctx, m.name()); err != nil || !c.State.Running {
			return backoff.Permanent(errors.New("it exited before it answered"))
		}
		b, err = m.dialContainer(ctx)
		return err
	}, backoff.WithContext(backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(50*time.Millisecond), backoff.WithMaxInterval(time.Second), backoff.WithMaxElapsedTime(patience)), ctx))
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fault.New(fault.Machine, noContainer, err, do).WithLines(m.containerLog(ctx))
	}
	return b, nil
}

// containerState describes the container; ok is false if there is none of ours.
func (m Manager) containerState(ctx context.Context) (s State, ok bool, err error) {
	c, err := m.Containers.ContainerInspect(ctx, m.name())
	if errdefs.IsNotFound(err) || err == nil && c.Config.Labels[Label] == "" {
		return State{}, false, nil
	}
	if err != nil {
		return State{}, false, fault.New(fault.Machine, "the builder's container cannot be inspected", err, readEngineLog)
	}
	s = State{Kind: KindContainer, Where: m.name(), Running: c.State.Running}
	if s.Running {
		if b, err := m.dialContainer(ctx); err == nil {
			defer b.Close()
			limited, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			s.Bytes, _ = b.CacheSize(limited)
		}
	}
	return s, true, nil
}

// removeContainer removes the container and its volume, if they exist.
func (m Manager) removeContainer(ctx context.Context) error {
	err := m.Containers.ContainerRemove(ctx, m.name(), container.RemoveOptions{Force: true})
	if err == nil || errdefs.IsNotFound(err) {
		err = m.Containers.VolumeRemove(ctx, m.name(), false)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fault.New(fault.Machine, "the builder cannot be removed", err, readEngineLog)
	}
	return nil
}
