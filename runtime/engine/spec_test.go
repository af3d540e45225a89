package engine_test

import (
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/go-connections/nat"
	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

func sample() engine.Spec {
	return engine.Spec{
		Project: "/p/.runtime/engines", Pool: "default", Replica: "r0",
		Handoff: "/p/.runtime/engines/llamacpp.json",
		Image:   "sha256:1", ImageRef: "llorch/llama:x",
		Flags: []string{"--parallel", "1"},
		Model: engine.Mount{HostDir: "/m/models--a--b", HostFile: "/m/models--a--b/snapshots/1/x.gguf"},
	}
}

func TestContainer(t *testing.T) {
	t.Parallel()
	s := sample()
	c := s.Container(engine.Placement{
		Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: "v", Target: "/models", ReadOnly: true}},
		Port:   4242, LogDriver: "json-file", URL: "http://127.0.0.1:4242",
	})
	yes, ten, pids := true, 10, int64(4096)
	want := engine.Container{
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
	s.Device, s.Access = "CUDA", engine.GPUs{Way: engine.AccessRuntime}
	s.GPUs, s.GPUCache, s.Memory, s.CPUs, s.Restart = "all", true, 1<<30, 1.5, "on-failure:3"
	s.Listen, s.Flags, s.Env = "::1", []string{"--mlock"}, []string{"A=b"}
	s.Labels = map[string]string{engine.LabelPool: "forged", "x": "y"}
	c := s.Container(engine.Placement{Port: 1, LogDriver: "journald"})
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
	if c.Config.Labels["x"] != "y" || c.Config.Labels[engine.LabelPool] != "default" {
		t.Errorf("labels %v", c.Config.Labels)
	}
	if len(s.Env) != 1 {
		t.Error("the spec was changed")
	}
	s.GPUs = "0,GPU-1"
	if r := s.Container(engine.Placement{}).Host.DeviceRequests; r[0].Count != 0 || len(r[0].DeviceIDs) != 2 {
		t.Errorf("devices %+v", r)
	}
	s.GPUs = "none"
	if r := s.Container(engine.Placement{}).Host.DeviceRequests; r != nil {
		t.Errorf("devices %+v", r)
	}
}

// What changes the container changes the digest, and nothing else does.
func TestRunDigest(t *testing.T) {
	t.Parallel()
	base := sample().RunDigest()
	if !strings.HasPrefix(base, "sha256:") || len(base) != 71 {
		t.Fatalf("digest %q", base)
	}
	for name, change := range map[string]func(*engine.Spec){
		"image":      func(s *engine.Spec) { s.Image = "sha256:2" },
		"flags":      func(s *engine.Spec) { s.Flags = []string{"--parallel", "2"} },
		"flag words": func(s *engine.Spec) { s.Flags = []string{"--parallel 1"} },
		"entrypoint": func(s *engine.Spec) { s.Entrypoint = []string{"x"} },
		"model file": func(s *engine.Spec) { s.Model.HostFile = s.Model.HostDir + "/y.gguf" },
		"model hash": func(s *engine.Spec) { s.Model.SHA256 = "1" },
		"listen":     func(s *engine.Spec) { s.Listen = "0.0.0.0" },
		"fixed port": func(s *engine.Spec) { s.Port = 1 },
		"user":       func(s *engine.Spec) { s.User = "1" },
		"gpus":       func(s *engine.Spec) { s.GPUs = "all" },
		"memory":     func(s *engine.Spec) { s.Memory = 1 << 30 },
		"cpus":       func(s *engine.Spec) { s.CPUs = 1 },
		"restart":    func(s *engine.Spec) { s.Restart = "always" },
		"cache":      func(s *engine.Spec) { s.GPUCache = true },
		"env":        func(s *engine.Spec) { s.Env = []string{"A=b"} },
		"pool":       func(s *engine.Spec) { s.Pool = "x" },
	} {
		s := sample()
		change(&s)
		if s.RunDigest() == base {
			t.Errorf("%s: the digest stays", name)
		}
	}
	for name, change := range map[string]func(*engine.Spec){
		"nothing":          func(*engine.Spec) {},
		"preferred port":   func(s *engine.Spec) { s.PreferPort = 1 },
		"labels":           func(s *engine.Spec) { s.Labels = map[string]string{"a": "b"} },
		"image's name":     func(s *engine.Spec) { s.ImageRef = "other" },
		"spelled defaults": func(s *engine.Spec) { s.Listen, s.User, s.GPUs, s.Restart = "127.0.0.1", "65532:65532", "none", "no" },
		"empty env":        func(s *engine.Spec) { s.Env = []string{} },
	} {
		s := sample()
		change(&s)
		if s.RunDigest() != base {
			t.Errorf("%s: the digest changes", name)
		}
	}
	a, b := sample(), sample()
	a.Env, b.Env = []string{"A=1", "B=2"}, []string{"B=2", "A=1"}
	if a.RunDigest() != b.RunDigest() || a.Env[0] != "A=1" {
		t.Error("the order of variables counts")
	}
}

func TestModelPath(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		m    engine.Mount
		want string
	}{
		{engine.Mount{HostFile: "/a/b/x.gguf"}, "/models/x.gguf"},
		{engine.Mount{HostFile: "/a/b/x.gguf", HostDir: "/a"}, "/models/b/x.gguf"},
		{engine.Mount{HostFile: "/a/b/x.gguf", HostDir: "/a", ContainerPath: "/data/b/x.gguf"}, "/data/b/x.gguf"},
	} {
		if got := c.m.Path(); got != c.want {
			t.Errorf("%+v: %s", c.m, got)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	if err := sample().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*engine.Spec)
		text   string
	}{
		"pool":        {func(s *engine.Spec) { s.Pool = "A" }, "pool"},
		"replica":     {func(s *engine.Spec) { s.Replica = "a-b" }, "replica"},
		"project":     {func(s *engine.Spec) { s.Project = "x" }, "absolute"},
		"image":       {func(s *engine.Spec) { s.Image = "" }, "no image"},
		"relative":    {func(s *engine.Spec) { s.Model = engine.Mount{HostFile: "x.gguf"} }, "not absolute"},
		"outside":     {func(s *engine.Spec) { s.Model.HostFile = "/elsewhere/x.gguf" }, "not in"},
		"other end":   {func(s *engine.Spec) { s.Model.ContainerPath = "/models/y.gguf" }, "end in"},
		"at the root": {func(s *engine.Spec) { s.Model = engine.Mount{HostFile: "/x.gguf", ContainerPath: "/x.gguf"} }, "below a folder"},
		"listen":      {func(s *engine.Spec) { s.Listen = "localhost" }, "IP address"},
		"port":        {func(s *engine.Spec) { s.Port = 65536 }, "--port"},
		"root":        {func(s *engine.Spec) { s.User = "0:0" }, "not root"},
		"root again":  {func(s *engine.Spec) { s.User = "00" }, "not root"},
		"named user":  {func(s *engine.Spec) { s.User = "root" }, "numeric"},
		"restart":     {func(s *engine.Spec) { s.Restart = "never" }, "--restart"},
		"gpus":        {func(s *engine.Spec) { s.GPUs = "0,,1" }, "--gpus"},
		"memory":      {func(s *engine.Spec) { s.Memory = 5 }, "--memory"},
		"cpus":        {func(s *engine.Spec) { s.CPUs = -1 }, "--cpus"},
	} {
		s := sample()
		c.change(&s)
		err := s.Validate()
		if fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// All that is wrong is said at once.
	s := sample()
	s.Port, s.Restart = -1, "x"
	if err := s.Validate(); !strings.Contains(err.Error(), "--port") || !strings.Contains(err.Error(), "--restart") {
		t.Errorf("two faults: %v", err)
	}
}

func TestNamesDoNotClash(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, p := range []string{"/a", "/b"} {
		for _, id := range [][2]string{{"x", "r0"}, {"x-r0", "r0"}, {"x", "r1"}} {
			names[engine.ContainerName(p, id[0], id[1])] = true
		}
	}
	if len(names) != 6 {
		t.Errorf("%v", names)
	}
}
