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
	// serverPort is the port of the server inside its container.
	serverPort = 8080
	// stopGrace is how long, in seconds, an engine that shuts down waits for the server to
	// finish its answers.
	stopGrace = 10
	// pidsLimit is far above the threads of any server, and low enough to protect the machine
	// from a fork bomb.
	pidsLimit = 4096
	// cacheDir is the folder for code that the GPU's driver compiles.
	cacheDir = "/var/cache/llorch"
	// tmpSize is the size of /tmp, which is in memory.
	tmpSize = "256m"
)

// Container is a request to Docker to create a container.
type Container struct {
	Name       string
	Config     *container.Config
	Host       *container.HostConfig
	Networking *network.NetworkingConfig
}

// Placement is how the engine grants a Spec.
type Placement struct {
	// Name is the container's name; empty to let the engine choose.
	Name string
	// Mounts make the model visible to the server.
	Mounts []mount.Mount
	// Port is the host's port.
	Port int
	// LogDriver is the engine's default log driver.
	LogDriver string
	// URL is the server's base URL.
	URL string
	// GPUs is how the container gets the Spec's GPUs.
	GPUs Access
}

// ContainerOf returns the container for s, granted as p says.
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

// args are the server's arguments. They name the port although the image may set it, since
// the server's default is about to change.
func args(s engine.Spec) []string {
	return slices.Concat(engine.ServerAddress("0.0.0.0", serverPort), engine.ServerModel(modelPath(s.Model)), s.Flags)
}

// helper is a container with the server's mounts and user that runs cmd. It is also used
// without starting it; cmd may then be no program.
func helper(s engine.Spec, p Placement, cmd []string) Container {
	s = s.WithDefaults()
	c := Container{
		Config: &container.Config{
			Image: s.Image, User: s.User, Entrypoint: cmd[:1], Cmd: cmd[1:],
			Labels: map[string]string{LabelRole: RoleHelper, LabelProject: s.Project},
			// The image's own health check would run beside cmd.
			Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		},
		Host:       host(s, p),
		Networking: &network.NetworkingConfig{},
	}
	c.Host.NetworkMode = "none"
	return c
}

// host confines a container: it can read its image and model, write to memory only, and gain
// no privileges.
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
		// An equal limit including swap means no swap: a swapping server is too slow to use.
		h.Memory, h.MemorySwap = s.Memory, s.Memory
	}
	if engine.Locks(s.Flags) {
		h.Ulimits = []*container.Ulimit{{Name: "memlock", Soft: -1, Hard: -1}}
	}
	return h
}

// env is the server's environment. With a GPU cache, CUDA's and Mesa's variables point to
// it.
func env(s engine.Spec) []string {
	vars := slices.Clone(s.Env)
	if s.GPUCache {
		vars = append(vars, "CUDA_CACHE_PATH="+cacheDir+"/cuda", "MESA_SHADER_CACHE_DIR="+cacheDir+"/mesa")
	}
	if s.GPUs != "" {
		// The server's log is the proof that it uses the GPU. Trees of 2026 print those
		// lines at this level only. The user's own flag overrides the variable.
		vars = append(vars, "LLAMA_ARG_LOG_VERBOSITY=4")
	}
	if v := visible(s); v != "" {
		vars = append(vars, v)
	}
	return vars
}

// logging limits the log's size if the engine writes it to its own files. Any other driver
// was chosen by the administrator, and may not know these options.
func logging(driver string) container.LogConfig {
	if driver != "json-file" && driver != "local" {
		return container.LogConfig{}
	}
	return container.LogConfig{Type: driver, Config: map[string]string{"max-size": "10m", "max-file": "3"}}
}

func restart(policy string) container.RestartPolicy {
	name, count, _ := strings.Cut(policy, ":")
	n, _ := strconv.Atoi(count) // validated; without a count there is no limit
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

// cacheVolume is a volume for each user, since its files belong to that user.
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
