package buildkit

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	dockerclient "github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/llorch/llorch-bk/images/fault"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// managedName is the name of the container and of its volume.
	managedName = "llorch-bk-builder"
	// LabelBuilder marks the managed builder's container and volume.
	LabelBuilder = "dev.llorch.builder"
	// madeLike is the label's value: raised when a container is made otherwise, so that
	// an older one is replaced. Its volume is kept.
	madeLike = "2"
	// environment is a file in the container with what the daemon's environment is to
	// have. A proxy's variables can hold a password, and what a container is created
	// with can be read by everybody who may inspect it.
	environment = "/etc/llorch-environment"
	// start is a shell's command for the daemon.
	start = "[ ! -f " + environment + " ] || . " + environment + `; exec buildkitd "$@"`

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

// openContainer connects to the managed builder's container, which is made or
// started as far as it has to be. One that was made in vain is removed.
func (m Manager) openContainer(ctx context.Context) (*Builder, error) {
	c, err := m.Containers.ContainerInspect(ctx, m.name())
	made := errdefs.IsNotFound(err)
	// One that an earlier version made: what it has compiled is in its volume.
	if err == nil && c.Config.Labels[LabelBuilder] != "" && c.Config.Labels[LabelBuilder] != madeLike {
		m.notice("make the builder's container anew; its cache is kept")
		if err := m.Containers.ContainerRemove(ctx, m.name(), container.RemoveOptions{Force: true}); err != nil && !errdefs.IsNotFound(err) {
			return nil, fault.New(fault.Machine, noContainer, err, "look at the engine's log")
		}
		if err := m.createContainer(ctx); err != nil {
			return nil, err
		}
		return m.startContainer(ctx, false)
	}
	switch {
	case made:
		if err := m.createContainer(ctx); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, fault.New(fault.Machine, noContainer, err, "look at the engine's log")
	case c.Config.Labels[LabelBuilder] == "":
		return nil, fault.New(fault.Machine, noContainer, errors.New("a container that is not ours is called "+m.name()), "rename or remove it")
	}
	b, err := m.startContainer(ctx, err == nil && c.ContainerJSONBase != nil && c.State != nil && c.State.Running)
	if err != nil && made {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialTimeout)
		defer cancel()
		err = errors.Join(err, m.removeContainer(clean))
	}
	return b, err
}

// startContainer starts the container, if it does not run, and waits until the
// daemon inside answers.
func (m Manager) startContainer(ctx context.Context, running bool) (*Builder, error) {
	do := "look at docker logs " + m.name()
	if !running {
		file, err := m.environment()
		if err == nil {
			err = m.Containers.CopyToContainer(ctx, m.name(), path.Dir(environment), file, container.CopyToContainerOptions{})
		}
		if err != nil {
			return nil, fault.New(fault.Machine, noContainer, err, do)
		}
	}
	// Starting one that runs does nothing.
	if err := m.Containers.ContainerStart(ctx, m.name(), container.StartOptions{}); err != nil {
		return nil, fault.New(fault.Machine, noContainer, err, do)
	}
	var b *Builder
	err := backoff.Retry(func() error {
		if c, err := m.Containers.ContainerInspect(ctx, m.name()); err != nil || !c.State.Running {
			return backoff.Permanent(errors.New("it ended at once"))
		}
		// A call to a daemon that does not listen yet fails by itself, and late.
		answer, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		var err error
		b, err = dialWith(answer, "docker-container://"+m.name(), m.exec)
		return err
	}, backoff.WithContext(backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(50*time.Millisecond), backoff.WithMaxInterval(time.Second), backoff.WithMaxElapsedTime(managedPatience)), ctx))
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fault.New(fault.Machine, noContainer, err, do).WithLines(m.containerLog(ctx))
	}
	return b, nil
}

// environment is an archive with the file of that name.
func (m Manager) environment() (io.Reader, error) {
	var text strings.Builder
	for _, e := range m.Env {
		name, value, _ := strings.Cut(e, "=")
		fmt.Fprintf(&text, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := w.WriteHeader(&tar.Header{Name: path.Base(environment), Mode: 0o600, Size: int64(text.Len())})
	if err == nil {
		_, err = io.WriteString(w, text.String())
	}
	return &out, errors.Join(err, w.Close())
}

// createContainer makes the container and its volume. BuildKit mounts and starts
// containers itself, which an unprivileged container may not.
func (m Manager) createContainer(ctx context.Context) error {
	ref := firstOf(m.Image, managedImage)
	const what = "the builder's image cannot be had"
	if _, err := m.Containers.ImageInspect(ctx, ref); errdefs.IsNotFound(err) {
		if m.Offline {
			return fault.New(fault.Machine, what, errors.New("the engine does not have "+ref+", and no network may be used"), "name a builder with --builder ADDR")
		}
		m.notice("pull the builder's image " + ref)
		r, err := m.Containers.ImagePull(ctx, ref, image.PullOptions{})
		if err == nil {
			err = drainLoad(image.LoadResponse{Body: r})
		}
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fault.New(fault.Machine, what, err, "name a mirror of it with LLORCH_BUILDER_IMAGE, or a builder with --builder ADDR")
		}
	} else if err != nil {
		return fault.New(fault.Machine, what, err, "look at the engine's log")
	}
	m.notice("start a builder in the container " + m.name())
	_, err := m.Containers.ContainerCreate(ctx, &container.Config{
		Image: ref, Entrypoint: []string{"/bin/sh", "-c", start, "buildkitd"}, Cmd: []string{"--oci-worker-gc=true", budget()},
		Labels: map[string]string{LabelBuilder: madeLike},
	}, &container.HostConfig{
		Privileged: true,
		Mounts: []mount.Mount{{
			Type: mount.TypeVolume, Source: m.name(), Target: "/var/lib/buildkit",
			VolumeOptions: &mount.VolumeOptions{Labels: map[string]string{LabelBuilder: madeLike}},
		}},
		LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m", "max-file": "3"}},
	}, nil, nil, m.name())
	// Two commands at once: the other's will do.
	if err != nil && !errdefs.IsConflict(err) {
		return fault.New(fault.Machine, noContainer, err, "look at the engine's log")
	}
	return nil
}

// exec is a connection to the daemon in the container, through the engine: the
// daemon listens nowhere else.
func (m Manager) exec(ctx context.Context) (net.Conn, error) {
	ex, err := m.Containers.ContainerExecCreate(ctx, m.name(), container.ExecOptions{
		AttachStdin: true, AttachStdout: true, AttachStderr: true, Cmd: []string{"buildctl", "dial-stdio"},
	})
	if err != nil {
		return nil, err
	}
	resp, err := m.Containers.ContainerExecAttach(ctx, ex.ID, container.ExecAttachOptions{})
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	go func() {
		var said strings.Builder
		_, err := stdcopy.StdCopy(w, &limited{&said}, resp.Reader)
		if err == nil && said.Len() > 0 {
			err = errors.New(strings.TrimSpace(said.String()))
		}
		w.CloseWithError(err)
	}()
	return execConn{resp.Conn, r}, nil
}

// limited keeps the beginning of what is written.
type limited struct{ b *strings.Builder }

func (l *limited) Write(p []byte) (int, error) {
	if room := 1024 - l.b.Len(); room > 0 {
		l.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// execConn reads what the engine's stream has for standard output.
type execConn struct {
	net.Conn
	r *io.PipeReader
}

func (c execConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func (c execConn) Close() error {
	c.r.Close()
	return c.Conn.Close()
}

func (m Manager) containerLog(ctx context.Context) []string {
	r, err := m.Containers.ContainerLogs(ctx, m.name(), container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: "20"})
	if err != nil {
		return nil
	}
	defer r.Close()
	var text strings.Builder
	if _, err := stdcopy.StdCopy(&text, &text, r); err != nil || text.Len() == 0 {
		return nil
	}
	return strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
}

func (m Manager) containerState(ctx context.Context) (ManagedState, bool, error) {
	c, err := m.Containers.ContainerInspect(ctx, m.name())
	if errdefs.IsNotFound(err) || err == nil && c.Config.Labels[LabelBuilder] == "" {
		return ManagedState{}, false, nil
	}
	if err != nil {
		return ManagedState{}, false, fault.New(fault.Machine, "the engine does not tell of the builder", err, "look at its log")
	}
	s := ManagedState{Kind: "container", Where: m.name(), Running: c.State.Running}
	if s.Running {
		answer, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		if b, err := dialWith(answer, m.name(), m.exec); err == nil {
			b.describe(answer, &s)
			b.Close()
		}
	}
	return s, true, nil
}

func (m Manager) removeContainer(ctx context.Context) error {
	err := m.Containers.ContainerRemove(ctx, m.name(), container.RemoveOptions{Force: true})
	if err == nil || errdefs.IsNotFound(err) {
		err = m.Containers.VolumeRemove(ctx, m.name(), false)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fault.New(fault.Machine, "the builder cannot be removed", err, "look at the engine's log")
	}
	return nil
}
