package builder

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
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
	// existing is the label of a container that is there; empty for none.
	existing string
	removed  []string
	// created is everything that the container was created with, copied what was put
	// into it.
	created, copied string
}

func (c *confined) ContainerInspect(context.Context, string) (container.InspectResponse, error) {
	if c.existing == "" {
		return container.InspectResponse{}, errdefs.ErrNotFound
	}
	return container.InspectResponse{Config: &container.Config{Labels: map[string]string{Label: c.existing}}}, nil
}

func (c *confined) ImageInspect(context.Context, string, ...dockerclient.ImageInspectOption) (image.InspectResponse, error) {
	return image.InspectResponse{}, nil
}

func (c *confined) ContainerCreate(_ context.Context, conf *container.Config, host *container.HostConfig, _ *network.NetworkingConfig, _ *ocispec.Platform, _ string) (container.CreateResponse, error) {
	data, err := json.Marshal([]any{conf, host})
	c.created = string(data)
	return container.CreateResponse{}, err
}

func (c *confined) CopyToContainer(_ context.Context, _, _ string, content io.Reader, _ container.CopyToContainerOptions) error {
	data, err := io.ReadAll(content)
	c.copied = string(data)
	return err
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
		existing string
		removed  []string
	}{
		"made for it":                {"", []string{"container llorch-bk-builder", "volume llorch-bk-builder"}},
		"there before":               {generation, nil},
		"made by an earlier version": {"1", []string{"container llorch-bk-builder"}},
	} {
		e := &confined{existing: c.existing}
		// The folder is too deep for a socket, so that no process takes its place.
		m := Manager{Containers: e, Dir: "/" + strings.Repeat("d", socketMax), Env: []string{"HTTPS_PROXY=http://me:it's-secret@proxy:1"}}
		_, err := m.Open(t.Context())
		if fault.ClassOf(err) != fault.Machine || !strings.Contains(err.Error(), "unable to apply caps") {
			t.Errorf("%s: got %v", name, err)
		}
		if strings.Contains(e.created, "secret") || !strings.Contains(e.copied, `export HTTPS_PROXY='http://me:it'\''s-secret@proxy:1'`) {
			t.Errorf("%s: created with %s; copied %q: a proxy's password is for the daemon alone", name, e.created, e.copied)
		}
		if c.existing != generation && !strings.Contains(e.created, "@sha256:") {
			t.Errorf("%s: the image is not pinned: %s", name, e.created)
		}
		if !slices.Equal(e.removed, c.removed) {
			t.Errorf("%s: removed %q, want %q", name, e.removed, c.removed)
		}
	}
}

// A daemon that a bundle brought is put where it can be run, and is not compiled.
func TestManagedProgramOutOfABundle(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	m := Manager{Dir: t.TempDir(), Bundled: func() ([]byte, error) { return []byte("#!/bin/sh\n"), nil }}
	program, err := m.Locate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(program)
	if err != nil || info.Mode() != 0o700 || info.Size() != 10 {
		t.Errorf("%v, %v", info, err)
	}
	m.Bundled = func() ([]byte, error) { return nil, errors.New("is asked once") }
	if again, err := m.Locate(t.Context()); err != nil || again != program {
		t.Errorf("%s, %v", again, err)
	}
}

// Where no network may be used, no image is pulled and nothing is compiled.
func TestManagedOffline(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	m := Manager{Dir: t.TempDir(), Offline: true, Containers: imageless{&confined{}}}
	if _, err := m.Locate(t.Context()); fault.ClassOf(err) != fault.Machine || !strings.Contains(err.Error(), "the bundles that were loaded here") {
		t.Errorf("a program: %v", err)
	}
	if _, err := m.openContainer(t.Context()); fault.ClassOf(err) != fault.Machine || !strings.Contains(err.Error(), "no network may be used") {
		t.Errorf("a container: %v", err)
	}
}

// imageless is an engine without images, in which a pull is a panic.
type imageless struct{ *confined }

func (imageless) ImageInspect(context.Context, string, ...dockerclient.ImageInspectOption) (image.InspectResponse, error) {
	return image.InspectResponse{}, errdefs.ErrNotFound
}
