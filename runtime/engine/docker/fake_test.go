package docker_test

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/engine/docker"
	"github.com/llorch/llorch-bk/runtime/replica"
	spec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// fake is an engine in memory, which can be told to behave like a bad day.
type fake struct {
	mu         sync.Mutex
	next       int
	containers map[string]*fakeContainer
	volumes    map[string]*fakeVolume
	// log is what was asked of it that changed something.
	log []string
	// put are the entries of what was copied into containers, by path.
	put map[string]fakeEntry

	initBinary string
	probe      string
	noImage    bool
	// unreadable says of a mount whether the server's user is shut out of it.
	unreadable func(mount.Mount) bool
	// noBindVolumes is an engine in a virtual machine, whose volumes cannot bind
	// folders of the host; noBinds one that does not see the host at all.
	noBindVolumes, noBinds bool
	// create is asked before a container is made.
	create func(*container.HostConfig) error
	// start is asked before a server starts.
	start func(ctx context.Context, port string) error
	// try is what becomes of a server that loads a model alone, and says what it prints.
	try  func(*container.Config, *container.HostConfig) container.State
	says string
	// copied is told of each CopyToContainer before it is done.
	copied func() error
}

type fakeContainer struct {
	id, name string
	config   *container.Config
	host     *container.HostConfig
	state    container.State
}

type fakeEntry struct {
	mode     int64
	uid, gid int
}

type fakeVolume struct {
	volume.Volume
	files map[string]int64
}

func newFake() *fake {
	return &fake{containers: map[string]*fakeContainer{}, volumes: map[string]*fakeVolume{}, put: map[string]fakeEntry{}, initBinary: "docker-init"}
}

func (f *fake) engine() *docker.Engine {
	return docker.New(f, engine.Endpoint{Host: "unix:///fake", Source: "test", Local: true}, nil)
}

// left is what exists now.
func (f *fake) left() (containers, volumes []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.containers {
		containers = append(containers, c.name)
	}
	for v := range f.volumes {
		volumes = append(volumes, v)
	}
	slices.Sort(containers)
	slices.Sort(volumes)
	return containers, volumes
}

func (f *fake) note(format string, a ...any) { f.log = append(f.log, fmt.Sprintf(format, a...)) }

func (f *fake) find(id string) (*fakeContainer, error) {
	for _, c := range f.containers {
		if c.id == id || c.name == id {
			return c, nil
		}
	}
	return nil, fmt.Errorf("no such container %s: %w", id, errdefs.ErrNotFound)
}

func (f *fake) ContainerCreate(ctx context.Context, c *container.Config, h *container.HostConfig, _ *network.NetworkingConfig, _ *ocispec.Platform, name string) (container.CreateResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil {
		return container.CreateResponse{}, ctx.Err()
	}
	if f.create != nil {
		if err := f.create(h); err != nil {
			return container.CreateResponse{}, err
		}
	}
	f.next++
	id := fmt.Sprintf("id%d", f.next)
	if name == "" {
		name = "helper-" + id
	}
	if _, err := f.find(name); err == nil {
		return container.CreateResponse{}, fmt.Errorf("name in use: %w", errdefs.ErrConflict)
	}
	f.containers[id] = &fakeContainer{id: id, name: name, config: c, host: h, state: container.State{Status: "created"}}
	f.note("create %s", c.Labels[docker.LabelRole])
	return container.CreateResponse{ID: id}, nil
}

func (f *fake) ContainerStart(ctx context.Context, id string, _ container.StartOptions) error {
	f.mu.Lock()
	c, err := f.find(id)
	f.mu.Unlock()
	if err != nil {
		return err
	}
	role := c.config.Labels[docker.LabelRole]
	if role == docker.RoleServer && f.start != nil {
		if err := f.start(ctx, c.config.Labels[docker.LabelPort]); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("start %s", role)
	c.state = container.State{Status: "running", Running: true, StartedAt: time.Now().Format(time.RFC3339Nano)}
	if role == docker.RoleHelper && f.try != nil && slices.Contains(c.config.Cmd, "--no-warmup") {
		c.state = f.try(c.config, c.host)
	} else if role == docker.RoleHelper {
		c.state = container.State{Status: "exited"}
		if f.unreadable != nil && slices.ContainsFunc(c.host.Mounts, f.unreadable) {
			c.state.ExitCode = 1
		}
	}
	return nil
}

func (f *fake) ContainerRename(_ context.Context, id, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.find(name); err == nil {
		return fmt.Errorf("name in use: %w", errdefs.ErrConflict)
	}
	c, err := f.find(id)
	if err == nil {
		c.name = name
		f.note("rename %s", c.config.Labels[docker.LabelRole])
	}
	return err
}

func (f *fake) ContainerStop(context.Context, string, container.StopOptions) error { return nil }

func (f *fake) ContainerRemove(ctx context.Context, id string, _ container.RemoveOptions) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err != nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	delete(f.containers, c.id)
	f.note("remove %s", c.config.Labels[docker.LabelRole])
	return nil
}

func (f *fake) ContainerInspect(ctx context.Context, id string) (container.InspectResponse, error) {
	if ctx.Err() != nil {
		return container.InspectResponse{}, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err != nil {
		return container.InspectResponse{}, err
	}
	state := c.state
	return container.InspectResponse{
		ContainerJSONBase: &container.ContainerJSONBase{ID: c.id, Name: "/" + c.name, Image: c.config.Image, State: &state},
		Config:            c.config,
	}, nil
}

func (f *fake) ContainerList(_ context.Context, o container.ListOptions) ([]container.Summary, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []container.Summary
	for _, c := range f.containers {
		if o.Filters.MatchKVList("label", c.config.Labels) {
			out = append(out, container.Summary{ID: c.id, Names: []string{"/" + c.name}, Labels: c.config.Labels})
		}
	}
	return out, nil
}

func (f *fake) ContainerWait(_ context.Context, id string, _ container.WaitCondition) (<-chan container.WaitResponse, <-chan error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	done, failed := make(chan container.WaitResponse, 1), make(chan error, 1)
	if c, err := f.find(id); err != nil {
		failed <- err
	} else if f.try == nil || !c.state.Running {
		done <- container.WaitResponse{StatusCode: int64(c.state.ExitCode)}
	}
	return done, failed
}

func (f *fake) ContainerLogs(context.Context, string, container.LogsOptions) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(f.says)), nil
}

func (f *fake) ContainerStatsOneShot(context.Context, string) (container.StatsResponseReader, error) {
	return container.StatsResponseReader{}, errors.New("no statistics")
}

// mountOf is the mount of a container that file is below, and the rest of its path.
func (f *fake) mountOf(id, file string) (mount.Mount, string, error) {
	c, err := f.find(id)
	if err != nil {
		return mount.Mount{}, "", err
	}
	for _, m := range c.host.Mounts {
		if file == m.Target {
			return m, "", nil
		}
		if rest, ok := strings.CutPrefix(file, m.Target+"/"); ok {
			return m, rest, nil
		}
	}
	return mount.Mount{}, "", fmt.Errorf("no such file %s: %w", file, errdefs.ErrNotFound)
}

func (f *fake) ContainerStatPath(_ context.Context, id, file string) (container.PathStat, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, rest, err := f.mountOf(id, file)
	if err != nil {
		return container.PathStat{}, err
	}
	host := m.Source
	if m.Type == mount.TypeVolume {
		v := f.volumes[m.Source]
		host = v.Options["device"]
		if size, ok := v.files[rest]; ok {
			return container.PathStat{Size: size}, nil
		}
		if host == "" || f.noBindVolumes || f.noBinds {
			return container.PathStat{}, errors.New("mounting: no such file or directory")
		}
	} else if f.noBinds {
		return container.PathStat{}, errors.New("bind source path does not exist")
	}
	look := os.Lstat
	if rest == "" { // what is mounted is a link's end, never the link
		look = os.Stat
	}
	info, err := look(filepath.Join(host, rest))
	if err != nil {
		return container.PathStat{}, err
	}
	st := container.PathStat{Size: info.Size(), Mode: info.Mode()}
	if info.Mode()&os.ModeSymlink != 0 {
		end, err := filepath.EvalSymlinks(filepath.Join(host, rest))
		if err != nil {
			return container.PathStat{}, err
		}
		rel, err := filepath.Rel(host, end)
		if err != nil {
			return container.PathStat{}, err
		}
		st.LinkTarget = path.Join(m.Target, rel)
	}
	return st, nil
}

func (f *fake) CopyToContainer(_ context.Context, id, dir string, body io.Reader, _ container.CopyToContainerOptions) error {
	if f.copied != nil {
		if err := f.copied(); err != nil {
			return err
		}
	}
	f.mu.Lock()
	m, _, err := f.mountOf(id, dir)
	f.mu.Unlock()
	if err != nil {
		return err
	}
	if m.ReadOnly {
		return errors.New("mounted volume is marked read-only")
	}
	for r := tar.NewReader(body); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, r)
		if err != nil {
			return err
		}
		f.mu.Lock()
		if f.put != nil {
			f.put[dir+"/"+h.Name] = fakeEntry{h.Mode, h.Uid, h.Gid}
		}
		if v := f.volumes[m.Source]; v != nil && h.Typeflag == tar.TypeReg {
			v.files[h.Name] = n
			f.note("copy %s", h.Name)
		}
		f.mu.Unlock()
	}
}

func (f *fake) VolumeCreate(_ context.Context, o volume.CreateOptions) (volume.Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.volumes[o.Name] == nil {
		f.volumes[o.Name] = &fakeVolume{
			Volume: volume.Volume{Name: o.Name, Options: o.DriverOpts, Labels: o.Labels}, files: map[string]int64{},
		}
	}
	return f.volumes[o.Name].Volume, nil
}

func (f *fake) VolumeInspect(_ context.Context, name string) (volume.Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v := f.volumes[name]; v != nil {
		return v.Volume, nil
	}
	return volume.Volume{}, errdefs.ErrNotFound
}

func (f *fake) VolumeList(_ context.Context, o volume.ListOptions) (volume.ListResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out volume.ListResponse
	for _, v := range f.volumes {
		if o.Filters.MatchKVList("label", v.Labels) {
			out.Volumes = append(out.Volumes, &v.Volume)
		}
	}
	return out, nil
}

func (f *fake) VolumeRemove(_ context.Context, name string, _ bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.containers {
		if slices.ContainsFunc(c.host.Mounts, func(m mount.Mount) bool { return m.Source == name }) {
			return fmt.Errorf("volume is in use: %w", errdefs.ErrConflict)
		}
	}
	delete(f.volumes, name)
	return nil
}

func (f *fake) Info(context.Context) (system.Info, error) {
	return system.Info{ID: "fake", LoggingDriver: "json-file", InitBinary: f.initBinary}, nil
}

func (f *fake) ClientVersion() string { return "1.41" }

func (f *fake) ImageInspect(context.Context, string, ...client.ImageInspectOption) (image.InspectResponse, error) {
	if f.noImage {
		return image.InspectResponse{}, errdefs.ErrNotFound
	}
	labels := map[string]string{}
	if f.probe != "" {
		labels["dev.llorch.probe"] = f.probe
	}
	return image.InspectResponse{Config: &spec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{Labels: labels}}}, nil
}

// start makes a server under its replica's name.
func start(ctx context.Context, d *docker.Engine, s engine.Spec) (engine.Server, error) {
	p, err := d.Prepare(ctx, s)
	if err != nil {
		return engine.Server{}, err
	}
	made, err := p.Create(ctx, false)
	if err != nil {
		return engine.Server{}, err
	}
	started, err := p.Start(ctx, made)
	if err != nil {
		err = errors.Join(err, d.Remove(context.WithoutCancel(ctx), started, 0))
	}
	return started, err
}

// find is a replica's server, and whether there is one.
func find(ctx context.Context, d *docker.Engine, project, pool, name string) (engine.Server, bool, error) {
	id := replica.ID{Project: project, Pool: pool, Replica: name}
	list, err := d.Observe(ctx, project, id.Name(), id.StandbyName())
	for _, s := range list {
		if s.Of() == id && !s.Foreign {
			return s, true, err
		}
	}
	return engine.Server{}, false, err
}
