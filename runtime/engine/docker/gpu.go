package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

// Way is how an engine gives GPUs to a container.
type Way string

// The ways.
const (
	// WayNone: there are no GPUs to give.
	WayNone Way = ""
	// WayRuntime: by NVIDIA's runtime or its hook. Engines know them as the driver with the
	// capability "gpu".
	WayRuntime Way = "runtime"
	// WayCDI: by device specifications (CDI), which engines support since version 25.
	WayCDI Way = "cdi"
	// WayDRI: the kernel's render nodes, which Mesa's drivers use.
	WayDRI Way = "dri"
)

// cdiKind is the prefix of NVIDIA's devices in CDI specifications.
const cdiKind = "nvidia.com/gpu="

// nvidiaAccess is how an engine with this answer gives NVIDIA GPUs to containers, and
// whether the engine reports that itself: it does not list a hook that it finds on demand.
func nvidiaAccess(i system.Info) (way Way, sure bool) {
	if _, ok := i.Runtimes["nvidia"]; ok {
		return WayRuntime, true
	}
	for _, d := range i.DiscoveredDevices {
		if d.Source == "cdi" && strings.HasPrefix(d.ID, cdiKind) {
			return WayCDI, true
		}
	}
	return WayRuntime, false
}

// Access is how GPUs reach a container.
type Access struct {
	Way Way
	// Sure is true if the engine reports that it can.
	Sure bool
	// Nodes are device files of this machine, for WayDRI; Groups may use them.
	Nodes  []string
	Groups []string
}

// access chooses how a container gets the GPUs for a ggml backend: NVIDIA's only for CUDA,
// and anything with a render node for other backends.
func (d *Engine) access(ctx context.Context, s engine.Spec) (Access, error) {
	if s.GPUs == "" {
		return Access{}, nil
	}
	i, err := d.api.Info(ctx)
	if err != nil {
		return Access{}, d.lost(ctx, err)
	}
	way, sure := nvidiaAccess(i)
	if s.Device == "CUDA" || sure {
		return Access{Way: way, Sure: sure}, nil
	}
	if !d.endpoint.Local {
		return Access{}, nil
	}
	nodes, groups := renderNodes("/dev/dri")
	if len(nodes) == 0 {
		return Access{}, nil
	}
	return Access{Way: WayDRI, Sure: true, Nodes: nodes, Groups: groups}, nil
}

// renderNodes are a machine's render nodes, and the ids of the groups that may use them.
func renderNodes(dir string) (nodes, groups []string) {
	found, _ := filepath.Glob(filepath.Join(dir, "renderD*")) // the pattern is valid
	for _, f := range found {
		info, err := os.Stat(f)
		if err != nil || info.Mode()&fs.ModeDevice == 0 {
			continue
		}
		nodes = append(nodes, f)
		if gid, ok := groupOf(info); ok && !slices.Contains(groups, gid) {
			groups = append(groups, gid)
		}
	}
	return nodes, groups
}

// give adds the spec's GPUs to a container.
func give(h *container.HostConfig, s engine.Spec, a Access) {
	if s.GPUs == "" {
		return
	}
	// Some backends number the devices themselves: they get all devices, and the list in a
	// variable.
	list := s.GPUs
	if visible(s) != "" {
		list = "all"
	}
	switch a.Way {
	case WayRuntime:
		h.DeviceRequests = []container.DeviceRequest{gpus(list)}
	case WayCDI:
		r := container.DeviceRequest{Driver: "cdi"}
		for _, name := range strings.Split(list, ",") {
			r.DeviceIDs = append(r.DeviceIDs, cdiKind+name)
		}
		h.DeviceRequests = []container.DeviceRequest{r}
	case WayDRI:
		for _, node := range a.Nodes {
			h.Devices = append(h.Devices, container.DeviceMapping{PathOnHost: node, PathInContainer: node, CgroupPermissions: "rw"})
		}
		h.GroupAdd = append(h.GroupAdd, a.Groups...)
	}
}

// visible is the variable that limits the server to some Vulkan devices; empty for no
// limit. Drivers that compute on the CPU are used only if the list has their number.
func visible(s engine.Spec) string {
	if s.Device != "Vulkan" || s.GPUs == "" || s.GPUs == "all" {
		return ""
	}
	for _, n := range strings.Split(s.GPUs, ",") {
		if _, err := strconv.Atoi(n); err != nil {
			return ""
		}
	}
	return "GGML_VK_VISIBLE_DEVICES=" + s.GPUs
}

// loaders are Linux's dynamic loaders, by Go's name of the architecture.
var loaders = map[string]string{"amd64": "/lib64/ld-linux-x86-64.so.2", "arm64": "/lib/ld-linux-aarch64.so.1"}

// Devices implements engine.Prober. It answers within seconds, before a model is loaded. An
// engine that cannot give the GPUs is a fault.
func (d *Engine) Devices(ctx context.Context, s engine.Spec) (engine.Devices, error) {
	access, err := d.access(ctx, s)
	if err != nil {
		return engine.Devices{}, err
	}
	out := engine.Devices{Given: access.Sure}
	cmd, err := d.server(ctx, s)
	if err != nil {
		return out, err
	}
	out.Lines, err = d.say(ctx, s, access, append(cmd, "--list-devices"))
	return out, err
}

// Help implements engine.Prober. It takes no GPU.
func (d *Engine) Help(ctx context.Context, s engine.Spec) ([]string, error) {
	cmd, err := d.server(ctx, s)
	if err != nil {
		return nil, err
	}
	s.GPUs, s.Device, s.GPUCache = "", "", false
	return d.say(ctx, s, Access{}, append(cmd, "-h"))
}

// server is the command of an image's server.
func (d *Engine) server(ctx context.Context, s engine.Spec) ([]string, error) {
	img, err := d.api.ImageInspect(ctx, s.Image)
	if errdefs.IsNotFound(err) || err == nil && (img.Config == nil || len(img.Config.Entrypoint) == 0) && len(s.Entrypoint) == 0 {
		return nil, fault.New(fault.Engine, "the image "+s.ImageRef+" has no server that can list its devices or flags", err, "use an image from `llorch-bk build`")
	}
	if err != nil {
		return nil, d.lost(ctx, err)
	}
	if len(s.Entrypoint) > 0 {
		return slices.Clone(s.Entrypoint), nil
	}
	return slices.Clone(img.Config.Entrypoint), nil
}

// Linked implements engine.Prober; it needs the image's dynamic loader.
func (d *Engine) Linked(ctx context.Context, s engine.Spec, library string) []string {
	loader := loaders[runtime.GOARCH]
	access, err := d.access(ctx, s)
	if loader == "" || err != nil {
		return nil
	}
	lines, err := d.say(ctx, s, access, []string{loader, "--list", library})
	if err != nil {
		return nil
	}
	return lines
}

// sayPatience bounds a command in an image. A driver that has not been used since boot takes
// seconds.
const sayPatience = time.Minute

// say runs a command in a container with the server's limits and devices, and returns its
// output.
func (d *Engine) say(ctx context.Context, s engine.Spec, a Access, cmd []string) (lines []string, err error) {
	s = s.WithDefaults()
	ctx, cancel := context.WithTimeoutCause(ctx, sayPatience, errors.New("the command did not end within a minute"))
	defer cancel()
	c := helper(s, Placement{LogDriver: "json-file"}, cmd)
	c.Config.Env = env(s)
	give(c.Host, s, a)
	id, err := d.create(ctx, c)
	if err != nil {
		return nil, explain(s, err)
	}
	defer func() { err = errors.Join(err, d.discard(ctx, id)) }()
	if err := d.api.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, explain(s, err)
	}
	done, failed := d.api.ContainerWait(ctx, id, container.WaitConditionNotRunning)
	select {
	case <-done:
	case err := <-failed:
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, explain(s, err)
	}
	lines, err = d.output(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("cannot read the output of %s: %w", cmd[0], err)
	}
	return lines, nil
}

// output is what a container has printed.
func (d *Engine) output(ctx context.Context, id string) ([]string, error) {
	r, err := d.api.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var b bytes.Buffer
	if _, err := stdcopy.StdCopy(engine.Limit(&b, engine.LogLimit), engine.Limit(&b, engine.LogLimit), r); err != nil {
		return nil, err
	}
	return engine.Lines(b.String()), nil
}
