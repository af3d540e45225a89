package engine

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
)

// Access is the way in which an engine gives GPUs to a container.
type Access string

// The ways.
const (
	// AccessNone: there is nothing to give.
	AccessNone Access = ""
	// AccessRuntime: by NVIDIA's runtime or its hook, which engines know as the
	// driver of devices that can "gpu".
	AccessRuntime Access = "runtime"
	// AccessCDI: by device specifications (CDI), which engines read since 25.
	AccessCDI Access = "cdi"
	// AccessDRI: the kernel's render nodes, which Mesa's drivers use.
	AccessDRI Access = "dri"
)

// cdiKind begins the names of NVIDIA's devices in CDI specifications.
const cdiKind = "nvidia.com/gpu="

// nvidiaAccess is how an engine with this answer gives NVIDIA's GPUs to containers,
// and whether it says so itself: an engine does not list a hook that it would
// find only when asked.
func nvidiaAccess(i system.Info) (way Access, sure bool) {
	if _, ok := i.Runtimes["nvidia"]; ok {
		return AccessRuntime, true
	}
	for _, d := range i.DiscoveredDevices {
		if d.Source == "cdi" && strings.HasPrefix(d.ID, cdiKind) {
			return AccessCDI, true
		}
	}
	return AccessRuntime, false
}

// GPUs is how GPUs reach a container.
type GPUs struct {
	Way Access
	// Sure is whether the engine says that it can.
	Sure bool
	// Nodes are device files of this machine, for AccessDRI, and Groups who may use them.
	Nodes  []string
	Groups []string
}

// GPUAccess is how the engine gives containers the GPUs that a backend of ggml
// uses: NVIDIA's alone for CUDA, for others also what has a render node.
func (d *Docker) GPUAccess(ctx context.Context, device string) (GPUs, error) {
	i, err := d.api.Info(ctx)
	if err != nil {
		return GPUs{}, d.lost(ctx, err)
	}
	way, sure := nvidiaAccess(i)
	if device == "CUDA" || sure {
		return GPUs{Way: way, Sure: sure}, nil
	}
	if !d.endpoint.Local {
		return GPUs{}, nil
	}
	nodes, groups := renderNodes("/dev/dri")
	if len(nodes) == 0 {
		return GPUs{}, nil
	}
	return GPUs{Way: AccessDRI, Sure: true, Nodes: nodes, Groups: groups}, nil
}

// renderNodes are a machine's render nodes and the ids of the groups that may use them.
func renderNodes(dir string) (nodes, groups []string) {
	found, _ := filepath.Glob(filepath.Join(dir, "renderD*")) // the pattern is right
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

// give puts the spec's GPUs into a container.
func (s Spec) give(h *container.HostConfig) {
	if s.GPUs == "" {
		return
	}
	// A backend that numbers the devices itself gets all of them, and the list as a
	// variable.
	list := s.GPUs
	if s.visible() != "" {
		list = "all"
	}
	switch s.Access.Way {
	case AccessRuntime:
		h.DeviceRequests = []container.DeviceRequest{gpus(list)}
	case AccessCDI:
		r := container.DeviceRequest{Driver: "cdi"}
		for _, name := range strings.Split(list, ",") {
			r.DeviceIDs = append(r.DeviceIDs, cdiKind+name)
		}
		h.DeviceRequests = []container.DeviceRequest{r}
	case AccessDRI:
		for _, node := range s.Access.Nodes {
			h.Devices = append(h.Devices, container.DeviceMapping{PathOnHost: node, PathInContainer: node, CgroupPermissions: "rw"})
		}
		h.GroupAdd = append(h.GroupAdd, s.Access.Groups...)
	}
}

// visible is the variable that shows the server only some of Vulkan's devices; ""
// where none is wanted. Drivers that compute on the CPU are used only when their
// number is in it.
func (s Spec) visible() string {
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

// loaders are the dynamic loaders of Linux, by Go's name of the architecture.
var loaders = map[string]string{"amd64": "/lib64/ld-linux-x86-64.so.2", "arm64": "/lib/ld-linux-aarch64.so.1"}

// Devices are the lines that the image's server prints of the devices that it
// finds, with the GPUs that s has: an answer within seconds, before a model is
// loaded. An engine that cannot give the GPUs is a fault.
func (d *Docker) Devices(ctx context.Context, s Spec) ([]string, error) {
	img, err := d.api.ImageInspect(ctx, s.Image)
	if errdefs.IsNotFound(err) || err == nil && (img.Config == nil || len(img.Config.Entrypoint) == 0) && len(s.Entrypoint) == 0 {
		return nil, fault.New(fault.Engine, "the image "+s.ImageRef+" has no server to ask for its devices", err, "take an image that `llorch-bk build` made")
	}
	if err != nil {
		return nil, d.lost(ctx, err)
	}
	cmd := s.Entrypoint
	if len(cmd) == 0 {
		cmd = img.Config.Entrypoint
	}
	return d.say(ctx, s, append(slices.Clone(cmd), "--list-devices"))
}

// Linked are the lines of the loader about a library in the image: what it links
// against, or the first thing that it does not find. None where the image has no
// loader.
func (d *Docker) Linked(ctx context.Context, s Spec, library string) []string {
	loader := loaders[runtime.GOARCH]
	lines, err := d.say(ctx, s, []string{loader, "--list", library})
	if loader == "" || err != nil {
		return nil
	}
	return lines
}

// sayPatience bounds a question to an image. A driver that was not used since the
// machine started takes seconds.
const sayPatience = time.Minute

// say runs a command in a container that is confined and equipped as the server
// will be, and returns what it printed.
func (d *Docker) say(ctx context.Context, s Spec, cmd []string) (lines []string, err error) {
	s = s.withDefaults()
	ctx, cancel := context.WithTimeoutCause(ctx, sayPatience, errors.New("it gave no answer in a minute"))
	defer cancel()
	c := s.helper(Placement{LogDriver: "json-file"}, cmd)
	c.Config.Env = s.env()
	s.give(c.Host)
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
	r, err := d.api.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		return nil, fmt.Errorf("what %s said cannot be read: %w", cmd[0], err)
	}
	defer r.Close()
	var b bytes.Buffer
	if _, err := stdcopy.StdCopy(&limited{w: &b, left: logLimit}, &limited{w: &b, left: logLimit}, r); err != nil {
		return nil, err
	}
	return cleanLines(b.String()), nil
}

// StartLines are the log's lines since the container started, as many as hold
// what a server says of its devices.
func (i *Instance) StartLines(ctx context.Context) ([]string, error) {
	var b bytes.Buffer
	err := i.Logs(ctx, &limited{w: &b, left: 4 * logLimit}, LogOptions{Since: i.State.StartedAt})
	return cleanLines(b.String()), err
}

// cleanLines are a log's lines fit for a terminal, with what they are indented by.
func cleanLines(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = cleanLine(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}
