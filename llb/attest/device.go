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

// DeviceCodeSchema is the version of DeviceCode's JSON. It is raised when a field changes
// its meaning or is removed, not when one is added.
const DeviceCodeSchema = 1

// DeviceCode lists the machine code and intermediate code in an image.
type DeviceCode struct {
	// Schema is DeviceCodeSchema.
	Schema int `json:"schema"`
	// CPU are the levels for which the image has a CPU backend, sorted: ggml's names of
	// its variants (haswell, armv8.2_1), or the level if the image has only one backend.
	CPU []string `json:"cpu"`
	// CUDA is nil for an image without CUDA.
	CUDA *CUDACode `json:"cuda,omitempty"`
	// Vulkan is true if the image has ggml's Vulkan backend. Any driver can compile its
	// SPIR-V.
	Vulkan bool `json:"vulkan"`
}

// CUDACode lists the architectures that the build of a CUDA backend asked for: NVIDIA's
// numbers, oldest first, such as 86 or 90a. llama.cpp's CMake files can make a number exact
// (120 becomes 120a).
type CUDACode struct {
	// SASS are the architectures with machine code.
	SASS []string `json:"sass"`
	// PTX are the architectures with intermediate code, which drivers compile for newer GPUs.
	PTX []string `json:"ptx"`
}

var (
	sharedObject = regexp.MustCompile(`^libggml-(.+?)\.so(\.[0-9]+)*$`)
	cudaArch     = regexp.MustCompile(`^([0-9]{2,3}[af]?)(-real|-virtual)?$`)
)

// ParseDeviceCode derives an image's device code from the names (or paths) of its
// libraries. level is the CPU level if there is one CPU backend (libggml-cpu.so). With
// several backends, whose names contain their levels, it is ignored. cudaArchs is the value
// of CMAKE_CUDA_ARCHITECTURES, such as "86-real;90"; empty for an image without CUDA. It
// is an error if libraries and cudaArchs contradict each other, if there is no CPU backend,
// or if cudaArchs is not a list of architectures.
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
				return DeviceCode{}, errors.New("the level of the image's only CPU backend is missing")
			}
			d.CPU = append(d.CPU, level)
		case m[1] == "cuda":
			cuda = true
		case m[1] == "vulkan":
			d.Vulkan = true
		}
	}
	if len(d.CPU) == 0 {
		return DeviceCode{}, errors.New("the image has no CPU backend: none of its libraries is a libggml-cpu*.so")
	}
	slices.Sort(d.CPU)
	d.CPU = slices.Compact(d.CPU)
	if cuda != (cudaArchs != "") {
		return DeviceCode{}, fmt.Errorf("the image's CUDA backend (present: %t) contradicts its CUDA architectures %q", cuda, cudaArchs)
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

// parseArchs reads CMake's notation: NN-real is machine code, NN-virtual is intermediate
// code, NN is both (cmake's CUDA_ARCHITECTURES).
func parseArchs(archs string) (*CUDACode, error) {
	c := &CUDACode{SASS: []string{}, PTX: []string{}}
	for _, a := range strings.Split(archs, ";") {
		m := cudaArch.FindStringSubmatch(a)
		if m == nil {
			return nil, fmt.Errorf("CUDA architecture must be a number, optionally with -real or -virtual, got %q in %q", a, archs)
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

// JSON is the manifest on one line, with a newline at its end. Equal values give equal bytes.
func (d DeviceCode) JSON() ([]byte, error) {
	b, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("manifest of device code: %w", err)
	}
	return append(b, '\n'), nil
}
