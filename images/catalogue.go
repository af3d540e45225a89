package images

import (
	"fmt"
	"slices"
	"strings"
)

// Variant is one entry of the catalogue: everything that tells one kind of
// image from another, as data.
type Variant struct {
	Name string
	// Family is a name under which variants compete: the first whose toolkit fits
	// the request and the machine is taken. Empty for a variant without rivals.
	Family string
	About  string
	// BuildBase is the image that compiling starts from, and whose distribution's
	// packages the image is made of. An accelerator may be compiled on a base of its own.
	BuildBase string
	// Packages are the distribution packages that compiling needs.
	Packages []string
	// UIPackages are those that building the web UI needs, Node 20 or later among them.
	UIPackages []string
	// RuntimePackages are in the image beside what every server takes.
	RuntimePackages []string
	// Accelerator is the backend for GPUs that the variant has beside the CPU's.
	Accelerator *Accelerator
	// Libraries are shared libraries, by soname, that the toolchain brings and that
	// a runtime base of the user's may lack. There they travel with the server.
	Libraries []string
	// Env is set in the image.
	Env []string
}

// Accelerator is a backend for GPUs, with a toolchain of its own: so the rest of
// the image is compiled as it is for the CPU alone, and shared with it.
type Accelerator struct {
	Backend
	// Device begins ggml's names of its devices (CUDA0), and is what the server
	// calls the backend when it loads it.
	Device string
	// Base is the image that it is compiled on; empty for the variant's BuildBase.
	Base string
	// Components are parts of the distribution's archive beside main that Packages
	// are in.
	Components []string
	// Packages are the distribution packages that compiling it needs.
	Packages []string
	// Flags are CMake definitions of its part.
	Flags []string
	// Libraries are shared libraries, by soname, that the toolchain brings and that
	// go into the image in a layer of their own.
	Libraries []string
	// Driver are shared libraries, by soname, that only the host's driver brings, when
	// a container is given the GPU. No image has them.
	Driver []string
	// CUDA is set for variants that compile CUDA.
	CUDA *CUDA
}

// backends are all of ggml's that the variant has.
func (v Variant) backends() []Backend {
	if v.Accelerator == nil {
		return []Backend{CPUBackend}
	}
	return []Backend{CPUBackend, v.Accelerator.Backend}
}

// toolchain is what compiling llama.cpp takes on Debian and Ubuntu: two
// compilers, because each is the better one for a part of it.
var toolchain = []string{"ccache", "clang", "cmake", "g++", "gcc", "libc6-dev", "ninja-build"}

// What the root of an image is made of where the user names no base: the libraries
// that every server needs, which bring what they need themselves; and of others some
// files, since nothing in an image runs their programs.
var (
	rootPackages = []string{"libc6", "libgomp1", "libstdc++6"}
	rootFiles    = []string{"base-files", "ca-certificates"}
)

const debianBase = "docker.io/library/debian:trixie-slim"

var (
	cudaBackend = Backend{Name: "ggml-cuda", Flag: "GGML_CUDA"}
	// cudaFlags let the link against libcuda, which comes from the host's driver at
	// run time, stay open; leave out what only several GPUs on one machine use; and
	// have cublas find cublasLt beside itself, which it does by the rpath of whoever
	// loads it, if that is of the old kind.
	cudaFlags = []string{
		"-DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined",
		"-DCMAKE_MODULE_LINKER_FLAGS=-Wl,--disable-new-dtags",
		"-DGGML_CUDA_NCCL=OFF",
	}
	cudaEnv = []string{"NVIDIA_DRIVER_CAPABILITIES=compute,utility", "NVIDIA_VISIBLE_DEVICES=all"}
	// nvcc compiles with g++, so clang is of no use beside it.
	cudaPackages = []string{"ccache", "cmake", "g++", "gcc", "libc6-dev", "ninja-build"}
)

// onDebian is a variant whose CPU half is the variant cpu's.
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

// Catalogue lists the variants, those of a family in the order of preference. A
// new variant is a new entry, not new code.
//
// The CUDA toolkits: 12.8 is the one that llama.cpp's own image takes, and the
// last with everything from Maxwell to Blackwell; 13.0 knows GPUs that came after
// it and needs a driver of 2025; Debian's package is for where NVIDIA's images
// cannot be had. Their images compile ggml's CUDA backend and nothing else, and
// run on Debian, which is at least as new as what they are built on.
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
		// CUDA 12.4 refuses gcc 14, which is Debian's own.
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

// findVariants are the entries that a name means: one, or a family.
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
	return nil, fmt.Errorf("variant %q is not one of %s", name, strings.Join(names, ", "))
}

// VariantNames are what --variant takes.
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

// FamilyOf is the family of a variant, or its own name where it has none or is not known.
func FamilyOf(variant string) string {
	for _, v := range Catalogue {
		if v.Name == variant && v.Family != "" {
			return v.Family
		}
	}
	return variant
}

// DeviceOf begins ggml's names of the GPUs that an image of this variant is for;
// empty for none.
func DeviceOf(variant string) string {
	for _, v := range Catalogue {
		if (v.Name == variant || v.Family == variant && variant != "") && v.Accelerator != nil {
			return v.Accelerator.Device
		}
	}
	return ""
}
