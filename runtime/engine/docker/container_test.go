package docker_test

import (
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/go-connections/nat"
	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/engine/docker"
)

func sample() engine.Spec {
	return engine.Spec{
		Project: "/p/.runtime/engines", Pool: "default", Replica: "r0",
		Handoff: "/p/.runtime/engines/llamacpp.json",
		Image:   "sha256:1", ImageRef: "llorch/llama:x",
		Flags: []string{"--parallel", "1"},
		Model: engine.Model{HostDir: "/m/models--a--b", HostFile: "/m/models--a--b/snapshots/1/x.gguf"},
	}
}

func TestContainer(t *testing.T) {
	t.Parallel()
	s := sample()
	c := docker.ContainerOf(s, docker.Placement{
		Name:   s.Of().Name(),
		Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: "v", Target: "/models", ReadOnly: true}},
		Port:   4242, LogDriver: "json-file", URL: "http://127.0.0.1:4242",
	})
	yes, ten, pids := true, 10, int64(4096)
	want := docker.Container{
		Name: "llorch-default-r0-04a47d8f",
		Config: &container.Config{
			Image: "sha256:1", User: "65532:65532",
			Cmd: []string{
				"--host", "0.0.0.0", "--port", "8080", "--model", "/models/snapshots/1/x.gguf", "--parallel", "1",
			},
			ExposedPorts: nat.PortSet{"8080/tcp": {}},
			StopSignal:   "SIGTERM", StopTimeout: &ten,
			Labels: map[string]string{
				"dev.llorch.role": "server", "dev.llorch.pool": "default", "dev.llorch.replica": "r0",
				"dev.llorch.project": "/p/.runtime/engines", "dev.llorch.run-digest": s.RunDigest(),
				"dev.llorch.port": "4242", "dev.llorch.url": "http://127.0.0.1:4242",
				"dev.llorch.handoff": "/p/.runtime/engines/llamacpp.json", "dev.llorch.image-ref": "llorch/llama:x",
				"dev.llorch.model-host": "/m/models--a--b/snapshots/1/x.gguf",
			},
		},
		Host: &container.HostConfig{
			Init: &yes, ReadonlyRootfs: true, CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges"},
			Tmpfs:         map[string]string{"/tmp": "rw,noexec,nosuid,nodev,size=256m,mode=1777"},
			Mounts:        []mount.Mount{{Type: mount.TypeVolume, Source: "v", Target: "/models", ReadOnly: true}},
			LogConfig:     container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m", "max-file": "3"}},
			PortBindings:  nat.PortMap{"8080/tcp": {{HostIP: "127.0.0.1", HostPort: "4242"}}},
			RestartPolicy: container.RestartPolicy{Name: "no"},
			Resources:     container.Resources{PidsLimit: &pids},
		},
	}
	want.Networking = c.Networking
	if d := cmp.Diff(want, c); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestContainerOptions(t *testing.T) {
	t.Parallel()
	s := sample()
	s.Device = "CUDA"
	gpus := docker.Access{Way: docker.WayRuntime}
	s.GPUs, s.GPUCache, s.Memory, s.CPUs, s.Restart = "all", true, 1<<30, 1.5, "on-failure:3"
	s.Listen, s.Flags, s.Env = "::1", []string{"--mlock"}, []string{"A=b"}
	s.Labels = map[string]string{docker.LabelPool: "forged", "x": "y"}
	c := docker.ContainerOf(s, docker.Placement{Port: 1, LogDriver: "journald", GPUs: gpus})
	h := c.Host
	if r := h.DeviceRequests; len(r) != 1 || r[0].Count != -1 || r[0].Capabilities[0][0] != "gpu" {
		t.Errorf("devices %+v", r)
	}
	if h.Memory != 1<<30 || h.MemorySwap != 1<<30 || h.NanoCPUs != 1_500_000_000 {
		t.Errorf("limits %d %d %d", h.Memory, h.MemorySwap, h.NanoCPUs)
	}
	if h.RestartPolicy != (container.RestartPolicy{Name: "on-failure", MaximumRetryCount: 3}) {
		t.Errorf("restart %+v", h.RestartPolicy)
	}
	if h.LogConfig.Type != "" || h.LogConfig.Config != nil {
		t.Errorf("another driver's options: %+v", h.LogConfig)
	}
	if len(h.Ulimits) != 1 || h.Ulimits[0].Name != "memlock" {
		t.Errorf("ulimits %+v", h.Ulimits)
	}
	if b := h.PortBindings["8080/tcp"]; len(b) != 1 || b[0].HostIP != "::1" {
		t.Errorf("binding %+v", b)
	}
	if len(h.Mounts) != 1 || h.Mounts[0].Source != "llorch-gpu-cache-65532-65532" || h.Mounts[0].ReadOnly {
		t.Errorf("cache %+v", h.Mounts)
	}
	if d := cmp.Diff([]string{"A=b", "CUDA_CACHE_PATH=/var/cache/llorch/cuda", "MESA_SHADER_CACHE_DIR=/var/cache/llorch/mesa", "LLAMA_ARG_LOG_VERBOSITY=4"}, c.Config.Env); d != "" {
		t.Error(d)
	}
	if c.Config.Labels["x"] != "y" || c.Config.Labels[docker.LabelPool] != "default" {
		t.Errorf("labels %v", c.Config.Labels)
	}
	if len(s.Env) != 1 {
		t.Error("the spec was changed")
	}
	s.GPUs = "0,GPU-1"
	if r := docker.ContainerOf(s, docker.Placement{GPUs: gpus}).Host.DeviceRequests; r[0].Count != 0 || len(r[0].DeviceIDs) != 2 {
		t.Errorf("devices %+v", r)
	}
	s.GPUs = "none"
	if r := docker.ContainerOf(s, docker.Placement{GPUs: gpus}).Host.DeviceRequests; r != nil {
		t.Errorf("devices %+v", r)
	}
}
