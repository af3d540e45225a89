package attest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// DeviceCodeSchema is the version of DeviceCode's JSON. It grows when a field changes
// its meaning or goes away, not when one is added.
const DeviceCodeSchema = 1

// DeviceCode says which machine code and which intermediate code an image has.
type DeviceCode struct {
	// Schema is DeviceCodeSchema.
	Schema int `json:"schema"`
	// CPU are the levels that the image has a CPU backend for, sorted: ggml's names of
	// its variants (haswell, armv8.2_1), or the level of an image that has one backend.
	CPU []string `json:"cpu"`
	// CUDA is nil for an image without.
	CUDA *CUDACode `json:"cuda,omitempty"`
	// Vulkan says whether the image has ggml's Vulkan backend, whose SPIR-V any driver
	// compiles.
	Vulkan bool `json:"vulkan"`
}

// CUDACode is what a CUDA backend was asked to be compiled for. The architectures are
// NVIDIA's numbers, the oldest first, as 86 or 90a. llama.cpp's CMake may make a
// number exact (120 into 120a).
type CUDACode struct {
	// SASS are those with machine code.
	SASS []string `json:"sass"`
	// PTX are those with intermediate code, which drivers compile for newer GPUs.
	PTX []string `json:"ptx"`
}

var (
	sharedObject = regexp.MustCompile(`^libggml-(.+?)\.so(\.[0-9]+)*$`)
	cudaArch     = regexp.MustCompile(`^([0-9]{2,3}[af]?)(-real|-virtual)?$`)
)

// ParseDeviceCode tells an image's device code from the names (or paths) of its
// libraries. level is what its CPU backend was compiled for if it has one for all
// machines (libggml-cpu.so); with several, which name themselves, it is ignored.
// cudaArchs is the value of CMAKE_CUDA_ARCHITECTURES, as "86-real;90"; empty for an
// image without CUDA. It is an error if the two contradict each other, if there is no
// CPU backend, or if cudaArchs is not a list of numbers.
func ParseDeviceCode(libraries []string, level, cudaArchs string) (DeviceCode, error) {
	d := DeviceCode{Schema: DeviceCodeSchema, CPU: []string{}}
	cuda := false
	for _, l := range libraries {
		m := sharedObject.FindStringSubmatch(path.Base(l))
		if m == nil {
			continue
		}
		variant, isVariant := strings.CutPrefix(m[1], "cpu-")
		switch {
		case isVariant:
			d.CPU = append(d.CPU, variant)
		case m[1] == "cpu":
			if level == "" {
				return DeviceCode{}, errors.New("the image has one CPU backend, and its level is not given")
			}
			d.CPU = append(d.CPU, level)
		case m[1] == "cuda":
			cuda = true
		case m[1] == "vulkan":
			d.Vulkan = true
		}
	}
	if len(d.CPU) == 0 {
		return DeviceCode{}, errors.New("the image has no CPU backend: there is no libggml-cpu*.so among its libraries")
	}
	slices.Sort(d.CPU)
	d.CPU = slices.Compact(d.CPU)
	if cuda != (cudaArchs != "") {
		return DeviceCode{}, fmt.Errorf("the image's CUDA backend (in it: %t) and its CUDA architectures %q contradict each other", cuda, cudaArchs)
	}
	if !cuda {
		return d, nil
	}
	code, err := parseArchs(cudaArchs)
	if err != nil {
		return DeviceCode{}, err
	}
	d.CUDA = code
	return d, nil
}

// parseArchs reads CMake's notation: NN-real is machine code, NN-virtual intermediate
// code, NN both (cmake's CUDA_ARCHITECTURES).
func parseArchs(archs string) (*CUDACode, error) {
	c := &CUDACode{SASS: []string{}, PTX: []string{}}
	for _, a := range strings.Split(archs, ";") {
		m := cudaArch.FindStringSubmatch(a)
		if m == nil {
			return nil, fmt.Errorf("CUDA architecture %q of %q is not a number with -real, -virtual or nothing after it", a, archs)
		}
		if m[2] != "-virtual" {
			c.SASS = append(c.SASS, m[1])
		}
		if m[2] != "-real" {
			c.PTX = append(c.PTX, m[1])
		}
	}
	for _, list := range []*[]string{&c.SASS, &c.PTX} {
		slices.SortFunc(*list, func(a, b string) int {
			return cmp.Or(cmp.Compare(len(strings.TrimRight(a, "af")), len(strings.TrimRight(b, "af"))), strings.Compare(a, b))
		})
		*list = slices.Compact(*list)
	}
	return c, nil
}

// JSON is the manifest, on one line with a newline at its end; equal for equal values.
func (d DeviceCode) JSON() ([]byte, error) {
	b, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("manifest of device code: %w", err)
	}
	return append(b, '\n'), nil
}
