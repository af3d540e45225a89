package app

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/pool"
)

func init() { proofPatience = 300 * time.Millisecond }

const (
	proof = `ggml_cuda_init: found 1 CUDA devices:
  Device 0: NVIDIA GeForce RTX 3090, compute capability 8.6, VMM: yes
load_tensors: offloaded 33/33 layers to GPU
load_tensors:        CUDA0 model buffer size =  5049.71 MiB
`
	noProof = `load_backend: loaded CPU backend from /app/libggml-cpu-zen4.so
warning: no usable GPU found, --gpu-layers option will be ignored
`
)

// A server with a GPU is ready when its own lines prove that it uses it. One that
// somebody else started is left alone, whatever they say.
func TestReadyWithAGPU(t *testing.T) {
	t.Parallel()
	for name, log := range map[string]string{"proven": proof, "not proven": noProof} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			f := startEngine(t)
			f.log = log
			f.addServer("c1", dir, "default", "r0", llama(t, nil), filepath.Join(dir, "llamacpp.json"), func(c *container.InspectResponse) {
				c.Config.Labels[engine.LabelDeviceMask], c.Config.Labels[labelDevice] = "all", "CUDA"
			})
			c := f.connect(t)
			eng := c.servers(nil)
			found, err := eng.Observe(t.Context(), dir)
			if err != nil || len(found) != 1 {
				t.Fatal(found, err)
			}
			d, err := OpenDisplay(t.Output(), "plain")
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			seen, err := c.observer(eng).project(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			ops := c.operations(d, eng, fakeID)
			ops.timeout = time.Minute
			want := pool.Wanted{Spec: engine.Spec{Project: dir, Pool: "default", Replica: "r0", GPUs: "all", Device: "CUDA"}}
			seen.Servers[0].RunDigest = want.Spec.RunDigest()
			_, err = pool.Run(want, seen).Execute(t.Context(), ops)
			h, readErr := handoff.Read(found[0].Handoff)
			got := Running{Handoff: h}
			if changed := f.done(); len(changed) > 0 {
				t.Errorf("it was not left alone: %v", changed)
			}
			if log == proof {
				if err != nil || readErr != nil || h.GPU == nil || h.GPU.Devices[0].Description != "NVIDIA GeForce RTX 3090" || len(h.GPU.Evidence) != 4 || got.Handoff.DeviceMask != "all" {
					t.Errorf("%v, %v: %+v", err, readErr, h.GPU)
				}
				return
			}
			report := fault.Report(err)
			if fault.ClassOf(err) != fault.Engine || !errors.Is(err, pool.NoGPU) || !strings.Contains(report, "no usable GPU found") || !strings.Contains(report, "`allow-cpu`") {
				t.Errorf("got %v:\n%s", err, report)
			}
			if readErr == nil {
				t.Error("there is a handoff without proof")
			}
		})
	}
}

func TestDeviceOf(t *testing.T) {
	t.Parallel()
	if got := deviceOf(imageOf{Labels: map[string]string{images.LabelDevice: "Vulkan"}}); got != "Vulkan" {
		t.Errorf("a Vulkan image: %q", got)
	}
	if got := deviceOf(imageOf{}); got != "CUDA" {
		t.Errorf("a foreign image: %q", got)
	}
}
