package images

import (
	"fmt"
	"slices"
	"strings"
)

// Variant is one entry of the catalogue: the data that distinguishes one kind of
// image from another.
type Variant struct {
	Name string
	// Family is a name that several variants share. A request for the family gets the
	// first variant whose toolkit fits the request and the machine. Empty for none.
	Family string
	About  string
	// BuildBase is the image that compiling starts from. The image's packages come from
	// its distribution. An accelerator may have a base of its own.
	BuildBase string
	// Packages are the distribution packages that compiling requires.
	Packages []string
	// UIPackages are the packages that building the web UI requires, including Node 20 or later.
	UIPackages []string
	// RuntimePackages are added to the packages that every server needs.
	RuntimePackages []string
	// Accelerator is the variant's GPU backend; nil if it has only the CPU's.
	Accelerator *Accelerator
	// Libraries are sonames of shared libraries from the toolchain. They are copied
	// beside the server if the user names a runtime base, which may lack them.
	Libraries []string
	// Env is the environment that the image sets.
	Env []string
}

// Accelerator is a GPU backend. It has a toolchain of its own, so that the rest of the
// image is compiled exactly as for the CPU variant, and both share the cache.
type Accelerator struct {
	Backend
	// Device is the prefix of ggml's names for its devices (CUDA0). The server's log
	// calls the backend by it when it loads it.
	Device string
	// Base is the image that the backend is compiled on; empty for the variant's BuildBase.
	Base string
	// Components are archive components besides main that contain Packages.
	Components []string
	// Packages are the distribution packages that compiling the backend requires.
	Packages []string
	// Flags are CMake definitions of the backend's part.
	Flags []string
	// Libraries are sonames of shared libraries from the toolchain. They get an image
	// layer of their own.
	Libraries []string
	// Driver are sonames of shared libraries that only the host's driver provides, when
	// a container is given the GPU. No image contains them.
	Driver []string
	// CUDA is set for CUDA variants.
	CUDA *CUDA
}

// backends are the ggml backends that the variant compiles.
func (v Variant) backends() []Backend {
	if v.Accelerator == nil {
		return []Backend{CPUBackend}
	}
	return []Backend{CPUBackend, v.Accelerator.Backend}
}

// toolchain is what compiles llama.cpp on Debian and Ubuntu. It has two compilers, because
// each is better for a part of llama.cpp (compileRules).
var toolchain = []string{"ccache", "clang", "cmake", "g++", "gcc", "libc6-dev", "ninja-build"}

// An image's root, unless the user names a base, consists of rootPackages (the libraries
// that every server needs), of their dependencies, and of some files of rootFiles. Those
// packages have programs and dependencies that nothing in an image runs.
var (
	rootPackages = []string{"libc6", "libgomp1", "libstdc++6"}
	rootFiles    = []string{"base-files", "ca-certificates"}
)

const debianBase = "docker.io/library/debian:trixie-slim"

var (
	cudaBackend = Backend{Name: "ggml-cuda", Flag: "GGML_CUDA"}
	// cudaFlags leave the link against libcuda open, because the host's driver provides it
	// at run time; leave out NCCL, which only several GPUs in one machine use; and let
	// cublas find cublasLt beside itself. It looks there only if the module that loads it
	// has an rpath of the old kind (DT_RPATH).
	cudaFlags = []string{
		"-DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined",
		"-DCMAKE_MODULE_LINKER_FLAGS=-Wl,--disable-new-dtags",
		"-DGGML_CUDA_NCCL=OFF",
	}
	cudaEnv = []string{"NVIDIA_DRIVER_CAPABILITIES=compute,utility", "NVIDIA_VISIBLE_DEVICES=all"}
	// nvcc compiles with g++, so clang is not needed.
	cudaPackages = []string{"ccache", "cmake", "g++", "gcc", "libc6-dev", "ninja-build"}
)

// onDebian returns a variant whose CPU half is that of the variant cpu.
func onDebian(name, family, about string, a *Accelerator) Variant {
	return Variant{
		Name: name, Family: family, About: about,
		BuildBase: debianBase,
		Packages:  toolchain, UIPackages: []string{"nodejs", "npm"}, Libraries: []string{"libgomp.so.1"},
		Accelerator: a,
	}
}

func cuda(name, about string, a Accelerator) Variant {
	a.Backend, a.Device, a.Driver = cudaBackend, "CUDA", []string{"libcuda.so.1"}
	a.Flags = slices.Concat(cudaFlags, a.Flags)
	if len(a.Packages) == 0 {
		a.Packages = cudaPackages
	}
	v := onDebian(name, "cuda", about, &a)
	v.Env = cudaEnv
	return v
}

// Catalogue lists the variants, and those of a family in order of preference. A new
// variant is a new entry, not new code.
//
// The CUDA toolkits: llama.cpp's own image uses 12.8, which is also the last that supports
// everything from Maxwell to Blackwell. 13.0 supports newer GPUs and needs a driver of 2025.
// Debian's package is used where NVIDIA's images cannot be pulled. NVIDIA's images compile
// only ggml's CUDA backend. The result runs on Debian, whose C library is at least as new.
var Catalogue = []Variant{
	onDebian("cpu", "", "CPU only, on Debian", nil),
	cuda("cuda12", "NVIDIA GPUs (CUDA 12.8) and every CPU", Accelerator{
		Base:      "docker.io/nvidia/cuda:12.8.1-devel-ubuntu24.04@sha256:520292dbb4f755fd360766059e62956e9379485d9e073bbd2f6e3c20c270ed66",
		Libraries: []string{"libcudart.so.12", "libcublas.so.12", "libcublasLt.so.12"},
		CUDA: &CUDA{
			Version: "12.8", MinDriver: "525.60.13", Driver: "570.26",
			Archs:    []string{"61", "70", "75", "80", "86", "89", "90", "100", "120"},
			Compiles: []string{"50", "52", "53", "60", "61", "62", "70", "72", "75", "80", "86", "87", "89", "90", "100", "101", "120"},
		},
	}),
	cuda("cuda13", "NVIDIA GPUs from Turing on (CUDA 13.0) and every CPU", Accelerator{
		Base:      "docker.io/nvidia/cuda:13.0.1-devel-ubuntu24.04@sha256:7d2f6a8c2071d911524f95061a0db363e24d27aa51ec831fcccf9e76eb72bc92",
		Libraries: []string{"libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13"},
		CUDA: &CUDA{
			Version: "13.0", MinDriver: "580.65.06", Driver: "580.65.06",
			Archs:    []string{"75", "80", "86", "89", "90", "100", "103", "120", "121"},
			Compiles: []string{"75", "80", "86", "87", "88", "89", "90", "100", "103", "110", "120", "121"},
		},
	}),
	cuda("cuda-debian", "NVIDIA GPUs (Debian's CUDA 12.4) and every CPU", Accelerator{
		// CUDA 12.4 refuses gcc 14, Debian's default.
		Components: []string{"contrib", "non-free"},
		Packages:   []string{"ccache", "cmake", "g++", "g++-13", "gcc", "libc6-dev", "ninja-build", "nvidia-cuda-toolkit"},
		Flags:      []string{"-DCMAKE_CUDA_HOST_COMPILER=/usr/bin/g++-13"},
		Libraries:  []string{"libcudart.so.12", "libcublas.so.12", "libcublasLt.so.12"},
		CUDA: &CUDA{
			Version: "12.4", MinDriver: "525.60.13", Driver: "550.54.14",
			Archs:    []string{"61", "70", "75", "80", "86", "89", "90"},
			Compiles: []string{"50", "52", "53", "60", "61", "62", "70", "72", "75", "80", "86", "87", "89", "90"},
		},
	}),
	func() Variant {
		v := onDebian("vulkan", "", "AMD, Intel and other GPUs (Vulkan, Mesa's drivers) and every CPU", &Accelerator{
			Backend: Backend{Name: "ggml-vulkan", Flag: "GGML_VULKAN"}, Device: "Vulkan",
			Packages: []string{"ccache", "clang", "cmake", "g++", "gcc", "glslc", "libc6-dev", "libvulkan-dev", "ninja-build", "spirv-headers"},
		})
		v.RuntimePackages = []string{"libvulkan1", "mesa-vulkan-drivers"}
		return v
	}(),
}

// findVariants returns the entries that a name stands for: one, or all of a family.
func findVariants(name string) ([]Variant, error) {
	var out []Variant
	var names []string
	for _, v := range Catalogue {
		if v.Name == name {
			return []Variant{v}, nil
		}
		if v.Family == name && name != "" {
			out = append(out, v)
		}
		if v.Family != "" && !slices.Contains(names, v.Family) {
			names = append(names, v.Family)
		}
		names = append(names, v.Name)
	}
	if len(out) > 0 {
		return out, nil
	}
	return nil, fmt.Errorf("variant must be one of %s, got %q", strings.Join(names, ", "), name)
}

// VariantNames are the values of `variant`: families and variants.
func VariantNames() []string {
	var names []string
	for _, v := range Catalogue {
		if v.Family != "" && !slices.Contains(names, v.Family) {
			names = append(names, v.Family)
		}
		names = append(names, v.Name)
	}
	return names
}

// FamilyOf is the family of a variant, or the given name if it has none or is unknown.
func FamilyOf(variant string) string {
	for _, v := range Catalogue {
		if v.Name == variant && v.Family != "" {
			return v.Family
		}
	}
	return variant
}

// DeviceOf is the prefix of ggml's names for the GPUs that an image of this variant uses;
// empty for none.
func DeviceOf(variant string) string {
	for _, v := range Catalogue {
		if (v.Name == variant || v.Family == variant && variant != "") && v.Accelerator != nil {
			return v.Accelerator.Device
		}
	}
	return ""
}
