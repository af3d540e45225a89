package docker

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/system"
	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/runtime/engine"
)

// Answers to GET /info: two recorded on engines here, the others shortened from
// what people post of theirs.
func TestNVIDIAAccess(t *testing.T) {
	t.Parallel()
	want := map[string]Access{
		"debian-20.10": {Way: WayRuntime},
		"moby-29":      {Way: WayRuntime},
		// The engine finds the hook only when it is asked for a GPU.
		"hook-only-24":       {Way: WayRuntime},
		"no-gpu-29":          {Way: WayRuntime},
		"cdi-of-another-29":  {Way: WayRuntime},
		"ubuntu-27-runtime":  {Way: WayRuntime, Sure: true},
		"default-runtime-26": {Way: WayRuntime, Sure: true},
		"wsl-desktop-28":     {Way: WayRuntime, Sure: true},
		"cdi-28":             {Way: WayCDI, Sure: true},
		"cdi-and-runtime-29": {Way: WayRuntime, Sure: true},
	}
	files, err := filepath.Glob("testdata/info/*.json")
	if err != nil || len(files) != len(want) {
		t.Fatalf("%d answers, %d wanted: %v", len(files), len(want), err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var i system.Info
		if err := json.Unmarshal(raw, &i); err != nil {
			t.Fatal(f, err)
		}
		name := strings.TrimSuffix(filepath.Base(f), ".json")
		way, sure := nvidiaAccess(i)
		if got := (Access{Way: way, Sure: sure}); cmp.Diff(want[name], got) != "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestGive(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		s    engine.Spec
		a    Access
		want container.HostConfig
		env  string
	}{
		"none":             {engine.Spec{}, Access{Way: WayRuntime}, container.HostConfig{}, ""},
		"all by a runtime": {engine.Spec{GPUs: "all", Device: "CUDA"}, Access{Way: WayRuntime}, requests(container.DeviceRequest{Count: -1, Capabilities: [][]string{{"gpu"}}}), ""},
		"some by a runtime": {
			engine.Spec{GPUs: "0,GPU-5c", Device: "CUDA"},
			Access{Way: WayRuntime},
			requests(container.DeviceRequest{DeviceIDs: []string{"0", "GPU-5c"}, Capabilities: [][]string{{"gpu"}}}), "",
		},
		"all by CDI":  {engine.Spec{GPUs: "all", Device: "CUDA"}, Access{Way: WayCDI}, requests(container.DeviceRequest{Driver: "cdi", DeviceIDs: []string{"nvidia.com/gpu=all"}}), ""},
		"some by CDI": {engine.Spec{GPUs: "0,1", Device: "CUDA"}, Access{Way: WayCDI}, requests(container.DeviceRequest{Driver: "cdi", DeviceIDs: []string{"nvidia.com/gpu=0", "nvidia.com/gpu=1"}}), ""},
		"render nodes": {
			engine.Spec{GPUs: "all", Device: "Vulkan"},
			Access{Way: WayDRI, Nodes: []string{"/dev/dri/renderD128"}, Groups: []string{"105"}},
			container.HostConfig{GroupAdd: []string{"105"}, Resources: container.Resources{Devices: []container.DeviceMapping{{PathOnHost: "/dev/dri/renderD128", PathInContainer: "/dev/dri/renderD128", CgroupPermissions: "rw"}}}},
			"",
		},
		// Vulkan numbers all devices, whoever's they are, so it gets all.
		"one of Vulkan's, NVIDIA's runtime": {
			engine.Spec{GPUs: "1", Device: "Vulkan"},
			Access{Way: WayRuntime},
			requests(container.DeviceRequest{Count: -1, Capabilities: [][]string{{"gpu"}}}), "GGML_VK_VISIBLE_DEVICES=1",
		},
		"a Vulkan device that needs nothing": {engine.Spec{GPUs: "0", Device: "Vulkan"}, Access{}, container.HostConfig{}, "GGML_VK_VISIBLE_DEVICES=0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got container.HostConfig
			give(&got, c.s, c.a)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if got := visible(c.s); got != c.env {
				t.Errorf("variable %q, want %q", got, c.env)
			}
		})
	}
}

func requests(r container.DeviceRequest) container.HostConfig {
	return container.HostConfig{Resources: container.Resources{DeviceRequests: []container.DeviceRequest{r}}}
}
