package gpu

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
)

// Lines as llama.cpp's releases print them, by what was done: those of 2024 and
// 2025 from the project's own CI logs and issues, those of 2026 from source and, for
// Vulkan, from a run.
func TestLook(t *testing.T) {
	t.Parallel()
	v100 := []Device{{"CUDA0", "Tesla V100-PCIE-16GB"}}
	for name, c := range map[string]struct {
		backend, log string
		want         Evidence
		proven       bool
	}{
		"b3887, September 2024: with time, no names of devices in use": {
			"CUDA", `
0.00.123.626 I ggml_cuda_init: GGML_CUDA_FORCE_MMQ:    no
0.00.123.633 I ggml_cuda_init: found 1 CUDA devices:
0.00.123.736 I   Device 0: Tesla V100-PCIE-16GB, compute capability 7.0, VMM: yes
0.00.751.601 I llm_load_tensors: offloading 32 repeating layers to GPU
0.00.751.612 I llm_load_tensors: offloaded 33/33 layers to GPU
0.00.751.620 I llm_load_tensors:        CUDA0 model buffer size =  5049.71 MiB
0.00.751.622 I llm_load_tensors:   CPU_Mapped model buffer size =   245.62 MiB`,
			Evidence{Loaded: true, Devices: v100, Layers: 33, Of: 33, BufferMiB: 5049.71},
			true,
		},
		"early 2024: buffer size without the word model": {
			"CUDA", `
llm_load_tensors: offloaded 33/33 layers to GPU
llm_load_tensors:        CPU buffer size =    88.81 MiB
llm_load_tensors:      CUDA0 buffer size =  4685.67 MiB
ggml_cuda_init: found 1 CUDA devices:
  Device 0: NVIDIA GeForce RTX 3080, compute capability 8.6, VMM: yes`,
			Evidence{Loaded: true, Devices: []Device{{"CUDA0", "NVIDIA GeForce RTX 3080"}}, Layers: 33, Of: 33, BufferMiB: 4685.67},
			true,
		},
		"b4879, March 2025: from_file_impl": {
			"CUDA", `
ggml_cuda_init: found 1 CUDA devices:
  Device 0: Tesla V100-PCIE-16GB, compute capability 7.0, VMM: yes
0.00.275.773 I llama_model_load_from_file_impl: using device CUDA0 (Tesla V100-PCIE-16GB) - 15841 MiB free
0.00.665.888 I load_tensors: offloaded 33/33 layers to GPU
0.00.665.898 I load_tensors:        CUDA0 model buffer size =  5049.71 MiB`,
			Evidence{Loaded: true, Devices: v100, Layers: 33, Of: 33, BufferMiB: 5049.71},
			true,
		},
		"b8783, 2026: VRAM in the list, backends as modules": {
			"CUDA", `
ggml_cuda_init: found 1 CUDA devices (Total VRAM: 10239 MiB):
  Device 0: NVIDIA GeForce RTX 3080, compute capability 8.6, VMM: yes, VRAM: 10239 MiB
load_backend: loaded CUDA backend from /app/libggml-cuda.so
load_backend: loaded RPC backend from /app/libggml-rpc.so
load_backend: loaded CPU backend from /app/libggml-cpu-alderlake.so
0.00.275.773 I llama_prepare_model_devices: using device CUDA0 (NVIDIA GeForce RTX 3080) (0000:01:00.0) - 9125 MiB free
0.01.665.888 I load_tensors: offloaded 10/37 layers to GPU
0.01.665.898 I load_tensors:        CUDA0 model buffer size =  1024.50 MiB`,
			Evidence{Loaded: true, Devices: []Device{{"CUDA0", "NVIDIA GeForce RTX 3080"}}, Layers: 10, Of: 37, BufferMiB: 1024.5},
			true,
		},
		"two GPUs": {
			"CUDA", `
ggml_cuda_init: found 2 CUDA devices:
  Device 0: NVIDIA GeForce RTX 4090, compute capability 8.9, VMM: yes
  Device 1: NVIDIA GeForce GTX 1080 Ti, compute capability 6.1, VMM: yes
load_tensors: offloaded 81/81 layers to GPU
load_tensors:        CUDA0 model buffer size = 20000.00 MiB
load_tensors:        CUDA1 model buffer size =  9000.25 MiB`,
			Evidence{Loaded: true, Devices: []Device{{"CUDA0", "NVIDIA GeForce RTX 4090"}, {"CUDA1", "NVIDIA GeForce GTX 1080 Ti"}}, Layers: 81, Of: 81, BufferMiB: 29000.25},
			true,
		},
		"Vulkan, January 2025": {
			"Vulkan", `
ggml_vulkan: Found 1 Vulkan devices:
ggml_vulkan: 0 = Tesla T4 (NVIDIA) | uma: 0 | fp16: 1 | warp size: 32 | matrix cores: KHR_coopmat
0.00.000.205 I llama_model_load_from_file: using device Vulkan0 (Tesla T4) - 16384 MiB free
0.00.400.000 I load_tensors: offloaded 33/33 layers to GPU
0.00.400.001 I load_tensors:      Vulkan0 model buffer size =  4095.05 MiB`,
			Evidence{Loaded: true, Devices: []Device{{"Vulkan0", "Tesla T4 (NVIDIA)"}}, Layers: 33, Of: 33, BufferMiB: 4095.05},
			true,
		},
		"Vulkan's list of devices, v0.5.0": {
			"Vulkan", `
Available devices:
  Vulkan0: llvmpipe (LLVM 19.1.7, 256 bits) (24031 MiB, 24031 MiB free)`,
			Evidence{Devices: []Device{{"Vulkan0", "llvmpipe (LLVM 19.1.7, 256 bits)"}}},
			false,
		},
		"a list of none": {"CUDA", "Available devices:\n  (none)\n", Evidence{}, false},
		"SYCL is not CUDA": {
			"CUDA", `
load_tensors: offloaded 33/33 layers to GPU
load_tensors:        SYCL0 model buffer size =  4095.05 MiB`,
			Evidence{Layers: 33, Of: 33},
			false,
		},
		"silently on the CPU": {
			"CUDA", `
load_backend: loaded CPU backend from /app/libggml-cpu-zen4.so
warning: no usable GPU found, --gpu-layers option will be ignored
load_tensors:   CPU_Mapped model buffer size =  4165.37 MiB`,
			Evidence{Trouble: []string{"warning: no usable GPU found, --gpu-layers option will be ignored"}},
			false,
		},
		"the driver does not start": {
			"CUDA", "ggml_cuda_init: failed to initialize CUDA: CUDA driver version is insufficient for CUDA runtime version",
			Evidence{Trouble: []string{"ggml_cuda_init: failed to initialize CUDA: CUDA driver version is insufficient for CUDA runtime version"}},
			false,
		},
		"a GPU that is there and not used": {
			"CUDA", `
ggml_cuda_init: found 1 CUDA devices:
  Device 0: Tesla V100-PCIE-16GB, compute capability 7.0, VMM: yes
load_tensors: offloaded 0/33 layers to GPU
load_tensors:          CPU model buffer size =  5295.33 MiB`,
			Evidence{Loaded: true, Devices: v100, Of: 33},
			false,
		},
		"zero devices are none": {"CUDA", "ggml_cuda_init: found 0 CUDA devices:", Evidence{}, false},
		"what a prompt says is no evidence of a device": {
			"CUDA", "slot print_timing: tell me about CUDA0 model buffer size = 10 MiB",
			Evidence{},
			false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Look(c.backend, strings.Split(strings.TrimPrefix(c.log, "\n"), "\n"))
			if got.Proven() != c.proven {
				t.Errorf("proven: %v", got.Proven())
			}
			if c.proven && len(got.Lines) < 3 {
				t.Errorf("the proof is %q", got.Lines)
			}
			got.Lines, c.want.Backend = nil, c.backend
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEvidenceIsWithoutTheLogsPrefix(t *testing.T) {
	t.Parallel()
	got := Look("CUDA", []string{
		"0.00.746.910 I load_tensors: offloaded 33/33 layers to GPU",
		"load_tensors: offloaded 33/33 layers to GPU",
		"0.00.746.919 I load_tensors:        CUDA0 model buffer size =  5049.71 MiB",
	})
	want := []string{"load_tensors: offloaded 33/33 layers to GPU", "load_tensors: CUDA0 model buffer size = 5049.71 MiB"}
	if diff := cmp.Diff(want, got.Lines); diff != "" {
		t.Error(diff)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	rtx := &images.GPUFacts{Driver: "570.124.06", Devices: []images.GPU{{Name: "NVIDIA GeForce RTX 4090", Capability: "8.9"}}}
	none := &images.GPUFacts{Why: "there is no NVIDIA driver on this machine (no nvidia-smi)"}
	libcuda := []string{"	linux-vdso.so.1 (0x00007ffc)", "	libggml-base.so.0 => /app/libggml-base.so.0 (0x0000)", "	libcuda.so.1 => not found"}
	says := func(line string) Evidence { return Look("CUDA", []string{line}) }
	for name, c := range map[string]struct {
		c       Circumstances
		why, do string
	}{
		"no driver on the machine":   {Circumstances{Evidence: says("  (none)"), Linked: libcuda, Host: none, Given: true}, "no NVIDIA driver", "install the driver"},
		"as the loader says it":      {Circumstances{Evidence: says("  (none)"), Linked: []string{"/app/libggml-cuda.so: error while loading shared libraries: libcuda.so.1: cannot open shared object file: No such file or directory"}, Host: rtx, Given: true}, "does not give the container the driver", "toolkit"},
		"no driver in the container": {Circumstances{Evidence: says("  (none)"), Linked: libcuda, Host: rtx, Given: true}, "does not give the container the driver", "toolkit"},
		"a remote engine":            {Circumstances{Evidence: says("  (none)"), Linked: libcuda, Given: true}, "does not give the container the driver", "toolkit"},
		"no runtime, no CDI":         {Circumstances{Evidence: says("  (none)"), Host: rtx}, "neither NVIDIA's runtime nor CDI", "toolkit"},
		"driver too old": {
			Circumstances{Evidence: says("ggml_cuda_init: failed to initialize CUDA: CUDA driver version is insufficient for CUDA runtime version"), Host: rtx, Given: true},
			"570.124.06", "update the driver",
		},
		"no code for this GPU": {
			Circumstances{Evidence: says("CUDA error: no kernel image is available for execution on the device"), Host: rtx, Given: true, Archs: []string{"61-real", "75-real"}},
			"RTX 4090", "`cuda-arch=auto`",
		},
		"an image that is not whole": {
			Circumstances{Evidence: says("  (none)"), Linked: []string{"	libcublas.so.12 => not found"}, Host: rtx, Given: true},
			"libcublas.so.12", "build the image again",
		},
		"the driver needs a restart": {
			Circumstances{Evidence: says("ggml_cuda_init: failed to initialize CUDA: unknown error"), Host: rtx, Given: true}, "unknown error", "nvidia-smi",
		},
		"a GPU that is hidden": {
			Circumstances{Evidence: says("ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected"), Host: rtx, Given: true}, "no GPU", "`gpus`",
		},
		"seen and not used": {
			Circumstances{Evidence: Look("CUDA", []string{"  CUDA0: NVIDIA X (1 MiB, 1 MiB free)", "load_tensors: offloaded 0/33 layers to GPU"}), Given: true}, "no layer", "GPU layers",
		},
		"Vulkan sees nothing": {
			Circumstances{Evidence: Look("Vulkan", []string{"  (none)"})}, "no /dev/dri", "`gpus=0`",
		},
		"a Vulkan device that is not there": {
			Circumstances{Evidence: Look("Vulkan", []string{"ggml_vulkan: Invalid device index 7 in GGML_VK_VISIBLE_DEVICES."}), Asked: "7"}, "no Vulkan device 7", "lower number",
		},
	} {
		why, do := c.c.Explain()
		if !strings.Contains(why, c.why) || !strings.Contains(do, c.do) {
			t.Errorf("%s: %s; %s", name, why, do)
		}
	}
}
