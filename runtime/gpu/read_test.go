package gpu

import (
	"context"
	"errors"
	"io/fs"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
)

// machine is a machine that answers as it is told.
type machine struct {
	version string
	// smi answers by whether the capability was asked for; nil is no nvidia-smi.
	smi func(capability bool) (string, error)
}

func (m machine) ReadFile(path string) ([]byte, error) {
	if path != driverFile || m.version == "" {
		return nil, fs.ErrNotExist
	}
	return []byte(m.version), nil
}

func (m machine) Output(_ context.Context, name string, args ...string) (string, error) {
	if m.smi == nil || name != "nvidia-smi" {
		return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
	}
	return m.smi(strings.Contains(args[0], "compute_cap"))
}

func TestRead(t *testing.T) {
	t.Parallel()
	const loaded = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.163.01  Tue Apr  8 12:41:17 UTC 2025\nGCC version: 14.2.0\n"
	says := func(out string) func(bool) (string, error) {
		return func(bool) (string, error) { return out, nil }
	}
	failure := errors.New("exit status 9")
	for name, c := range map[string]struct {
		m    machine
		want images.GPUFacts
		caps []string
	}{
		"one GPU": {
			machine{loaded, says("0, GPU-5ccc8b43-9c5f-44fd-80b1-3b8ad6c5b3a5, NVIDIA GeForce GTX 1080 Ti, 11264, 550.163.01, 6.1\n")},
			images.GPUFacts{Driver: "550.163.01", Devices: []images.GPU{{Index: 0, UUID: "GPU-5ccc8b43-9c5f-44fd-80b1-3b8ad6c5b3a5", Name: "NVIDIA GeForce GTX 1080 Ti", Capability: "6.1", MemoryMiB: 11264}}},
			[]string{"61"},
		},
		"three GPUs of two kinds": {
			machine{"", says("0, GPU-a, NVIDIA H100 80GB HBM3, 81559, 570.124.06, 9.0\n1, GPU-b, NVIDIA GeForce RTX 5090, 32607, 570.124.06, 12.0\n2, GPU-c, NVIDIA H100 80GB HBM3, 81559, 570.124.06, 9.0\n")},
			images.GPUFacts{Driver: "570.124.06", Devices: []images.GPU{
				{Index: 0, UUID: "GPU-a", Name: "NVIDIA H100 80GB HBM3", Capability: "9.0", MemoryMiB: 81559},
				{Index: 1, UUID: "GPU-b", Name: "NVIDIA GeForce RTX 5090", Capability: "12.0", MemoryMiB: 32607},
				{Index: 2, UUID: "GPU-c", Name: "NVIDIA H100 80GB HBM3", Capability: "9.0", MemoryMiB: 81559},
			}},
			[]string{"90", "120"},
		},
		"a GPU without memory of its own": {
			machine{"", says("0, GPU-a, NVIDIA GB10, [N/A], 580.95.05, 12.1\n")},
			images.GPUFacts{Driver: "580.95.05", Devices: []images.GPU{{UUID: "GPU-a", Name: "NVIDIA GB10", Capability: "12.1"}}},
			[]string{"121"},
		},
		"a driver that knows no capability": {
			machine{"", func(capability bool) (string, error) {
				if capability {
					return "Field \"compute_cap\" is not a valid field to query.\n", errors.New("exit status 2")
				}
				return "0, GPU-a, Tesla K80, 11441, 418.226.00\n", nil
			}},
			images.GPUFacts{Driver: "418.226.00", Devices: []images.GPU{{UUID: "GPU-a", Name: "Tesla K80", MemoryMiB: 11441}}, Why: "this driver does not report the compute capability of its GPUs"},
			nil,
		},
		"no driver": {machine{}, images.GPUFacts{Why: "there is no NVIDIA driver on this machine (no nvidia-smi)"}, nil},
		"a driver without its programs": {
			machine{version: loaded},
			images.GPUFacts{Driver: "550.163.01", Why: "driver 550.163.01 is loaded, but its nvidia-smi is not installed"},
			nil,
		},
		"a driver that was updated and not loaded anew": {
			machine{loaded, func(bool) (string, error) {
				return "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.163\n", failure
			}},
			images.GPUFacts{Driver: "550.163.01", Why: "nvidia-smi: Failed to initialize NVML: Driver/library version mismatch"},
			nil,
		},
		"nvidia-smi says nothing": {
			machine{"", func(bool) (string, error) { return "", failure }},
			images.GPUFacts{Why: "nvidia-smi: exit status 9"},
			nil,
		},
		"no devices": {machine{"", says("No devices were found\n")}, images.GPUFacts{Why: `nvidia-smi: unexpected line "No devices were found"`}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Read(t.Context(), c.m)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.caps, got.Capabilities()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
