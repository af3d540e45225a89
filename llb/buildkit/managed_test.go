package buildkit

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	dockerclient "github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/images/fault"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// confined is an engine that makes containers and cannot start privileged ones.
type confined struct {
	Containers
	existing bool
	removed  []string
}

func (c *confined) ContainerInspect(context.Context, string) (container.InspectResponse, error) {
	if !c.existing {
		return container.InspectResponse{}, errdefs.ErrNotFound
	}
	return container.InspectResponse{Config: &container.Config{Labels: map[string]string{LabelBuilder: "1"}}}, nil
}

func (c *confined) ImageInspect(context.Context, string, ...dockerclient.ImageInspectOption) (image.InspectResponse, error) {
	return image.InspectResponse{}, nil
}

func (c *confined) ContainerCreate(context.Context, *container.Config, *container.HostConfig, *network.NetworkingConfig, *ocispec.Platform, string) (container.CreateResponse, error) {
	return container.CreateResponse{}, nil
}

func (c *confined) ContainerStart(context.Context, string, container.StartOptions) error {
	return errors.New("unable to apply caps")
}

func (c *confined) ContainerRemove(_ context.Context, id string, _ container.RemoveOptions) error {
	c.removed = append(c.removed, "container "+id)
	return nil
}

func (c *confined) VolumeRemove(_ context.Context, id string, _ bool) error {
	c.removed = append(c.removed, "volume "+id)
	return nil
}

func (c *confined) ContainerLogs(context.Context, string, container.LogsOptions) (io.ReadCloser, error) {
	return nil, errdefs.ErrNotFound
}

// A builder that was made in vain leaves nothing; one that was there keeps what it
// has. Neither hides why it does not start.
func TestManagedContainerThatCannotStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		existing bool
		removed  []string
	}{
		"made for it":  {false, []string{"container llorch-bk-builder", "volume llorch-bk-builder"}},
		"there before": {true, nil},
	} {
		e := &confined{existing: c.existing}
		// The folder is too deep for a socket, so that no process takes its place.
		m := Manager{Containers: e, Dir: "/" + strings.Repeat("d", socketMax)}
		_, err := m.Open(t.Context())
		if fault.ClassOf(err) != fault.Machine || !strings.Contains(err.Error(), "unable to apply caps") {
			t.Errorf("%s: got %v", name, err)
		}
		if !slices.Equal(e.removed, c.removed) {
			t.Errorf("%s: removed %q, want %q", name, e.removed, c.removed)
		}
	}
}
