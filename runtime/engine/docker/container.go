package docker

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"
	"github.com/llorch/llorch-bk/runtime/engine"
)

const (
	// serverPort is what the server listens on inside its container.
	serverPort = 8080
	// stopGrace is how long, in seconds, an engine that shuts down lets the
	// server finish what it is answering.
	stopGrace = 10
	// pidsLimit is far above the threads of any server, and far below what a
	// runaway one would need to hurt the machine.
	pidsLimit = 4096
	// cacheDir is where a GPU's driver keeps what it compiled.
	cacheDir = "/var/cache/llorch"
	// tmpSize is enough for what a server puts into /tmp, which is memory.
	tmpSize = "256m"
)

// Container is what Docker is asked to create.
type Container struct {
	Name       string
	Config     *container.Config
	Host       *container.HostConfig
	Networking *network.NetworkingConfig
}

// Placement is how the engine grants what a Spec wants.
type Placement struct {
	// Name is the container's; empty for one that the engine names.
	Name string
	// Mounts make the model visible to the server.
	Mounts []mount.Mount
	// Port is the host's port.
	Port int
	// LogDriver is the engine's default one.
	LogDriver string
	// URL is the server's base URL.
	URL string
	// GPUs is how the Spec's GPUs reach the container.
	GPUs Access
}

// ContainerOf is the container that s makes at p.
func ContainerOf(s engine.Spec, p Placement) Container {
	s = s.WithDefaults()
	grace := stopGrace
	port := nat.Port(strconv.Itoa(serverPort) + "/tcp")
	labels := maps.Clone(s.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, map[string]string{
		LabelRole: RoleServer, LabelPool: s.Pool, LabelReplica: s.Replica, LabelProject: s.Project,
		LabelRunDigest: s.RunDigest(), LabelPort: strconv.Itoa(p.Port), LabelURL: p.URL,
		LabelHandoff: s.Handoff, LabelImageRef: s.ImageRef, LabelModelHost: s.Model.HostFile,
	})
	c := Container{
		Name: p.Name,
		Config: &container.Config{
			Image:        s.Image,
			User:         s.User,
			Entrypoint:   s.Entrypoint,
			Cmd:          args(s),
			Env:          env(s),
			Labels:       labels,
			ExposedPorts: nat.PortSet{port: {}},
			StopSignal:   "SIGTERM",
			StopTimeout:  &grace,
		},
		Host:       host(s, p),
		Networking: &network.NetworkingConfig{},
	}
	c.Host.PortBindings = nat.PortMap{port: {{HostIP: s.Listen, HostPort: strconv.Itoa(p.Port)}}}
	c.Host.RestartPolicy = restart(s.Restart)
	give(c.Host, s, p.GPUs)
	if s.GPUCache {
		c.Host.Mounts = append(c.Host.Mounts, mount.Mount{
			Type: mount.TypeVolume, Source: cacheVolume(s.User), Target: cacheDir,
			VolumeOptions: &mount.VolumeOptions{NoCopy: true, Labels: map[string]string{LabelRole: RoleCache}},
		})
	}
	return c
}

// args are the server's arguments. The port is said though the image may set it:
// the server's default is about to change.
func args(s engine.Spec) []string {
	return slices.Concat(engine.ServerAddress("0.0.0.0", serverPort), engine.ServerModel(modelPath(s.Model)), s.Flags)
}

// helper is a container that sees what the server will see, as the same user,
// and runs cmd, which may be nothing that can be run where it only shall exist.
func helper(s engine.Spec, p Placement, cmd []string) Container {
	s = s.WithDefaults()
	c := Container{
		Config: &container.Config{
			Image: s.Image, User: s.User, Entrypoint: cmd[:1], Cmd: cmd[1:],
			Labels: map[string]string{LabelRole: RoleHelper, LabelProject: s.Project},
			// The image's own would run beside cmd.
			Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		},
		Host:       host(s, p),
		Networking: &network.NetworkingConfig{},
	}
	c.Host.NetworkMode = "none"
	return c
}

// host is what confines a container of ours: it can read its image and its
// model, write to memory, and become nobody else.
func host(s engine.Spec, p Placement) *container.HostConfig {
	yes, pids := true, int64(pidsLimit)
	h := &container.HostConfig{
		Init:           &yes,
		ReadonlyRootfs: true,
		CapDrop:        []string{"ALL"},
		SecurityOpt:    []string{"no-new-privileges"},
		Tmpfs:          map[string]string{"/tmp": "rw,noexec,nosuid,nodev,size=" + tmpSize + ",mode=1777"},
		Mounts:         slices.Clone(p.Mounts),
		LogConfig:      logging(p.LogDriver),
		Resources:      container.Resources{PidsLimit: &pids, NanoCPUs: int64(s.CPUs * 1e9)},
	}
	if s.Memory > 0 {
		// The same limit with swap is no swap: a server that swaps answers nobody.
		h.Memory, h.MemorySwap = s.Memory, s.Memory
	}
	if engine.Locks(s.Flags) {
		h.Ulimits = []*container.Ulimit{{Name: "memlock", Soft: -1, Hard: -1}}
	}
	return h
}

// env is the server's environment: with a cache for the GPU's driver where
// there is one, CUDA's and Mesa's own variables say where.
func env(s engine.Spec) []string {
	vars := slices.Clone(s.Env)
	if s.GPUCache {
		vars = append(vars, "CUDA_CACHE_PATH="+cacheDir+"/cuda", "MESA_SHADER_CACHE_DIR="+cacheDir+"/mesa")
	}
	if s.GPUs != "" {
		// What a server says of its GPU is the proof that it uses it, and trees of 2026
		// say it at this level only. A flag of the user's own wins over a variable.
		vars = append(vars, "LLAMA_ARG_LOG_VERBOSITY=4")
	}
	if v := visible(s); v != "" {
		vars = append(vars, v)
	}
	return vars
}

// logging bounds a log where the engine writes it to files of its own. Any other
// driver is somebody's decision, and knows no such options.
func logging(driver string) container.LogConfig {
	if driver != "json-file" && driver != "local" {
		return container.LogConfig{}
	}
	return container.LogConfig{Type: driver, Config: map[string]string{"max-size": "10m", "max-file": "3"}}
}

func restart(policy string) container.RestartPolicy {
	name, count, _ := strings.Cut(policy, ":")
	n, _ := strconv.Atoi(count) // validated; none is no limit
	return container.RestartPolicy{Name: container.RestartPolicyMode(name), MaximumRetryCount: n}
}

func gpus(list string) container.DeviceRequest {
	r := container.DeviceRequest{Capabilities: [][]string{{"gpu"}}}
	if list == "all" {
		r.Count = -1
	} else {
		r.DeviceIDs = strings.Split(list, ",")
	}
	return r
}

// cacheVolume is one per user, since its files are that user's.
func cacheVolume(user string) string {
	return "llorch-gpu-cache-" + strings.ReplaceAll(user, ":", "-")
}

// urlFor is the base URL of a port published on listen by an engine at e.
func urlFor(e engine.Endpoint, listen string, port int) string {
	name := listen
	if addr, err := netip.ParseAddr(listen); err == nil && addr.IsUnspecified() {
		name = engine.DefaultListen
		if !e.Local {
			name = hostOf(e.Host)
		} else if addr.Is6() {
			name = "::1"
		}
	}
	return "http://" + net.JoinHostPort(name, strconv.Itoa(port))
}
