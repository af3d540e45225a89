package images

import (
	"fmt"
	"strings"
)

// CUDAAll asks for every architecture that the variant's CUDA version compiles.
const CUDAAll = "all"

// Variant is one entry of the catalogue: everything that tells one kind of
// image from another, as data.
type Variant struct {
	Name  string
	About string
	// BuildBase and RuntimeBase are the images that compiling and running start from.
	BuildBase, RuntimeBase string
	// OneBase is true where both are the same image, so that a user's own base
	// replaces both.
	OneBase bool
	// Packages are the distribution packages that compiling needs.
	Packages []string
	// UIPackages are those that building the web UI needs, Node 20 or later among
	// them; none where the distribution of BuildBase has no such Node.
	UIPackages []string
	// Backends are ggml's that the variant has beside the CPU's.
	Backends []Backend
	// Flags are CMake definitions of these backends.
	Flags []string
	// Libraries are shared libraries, by soname, that the toolchain brings and
	// the runtime base lacks. They travel with the server.
	Libraries []string
	// CUDA is set for variants that compile CUDA.
	CUDA *CUDA
	// Env is set in the image.
	Env []string
}

// backends are all of ggml's that the variant has.
func (v Variant) backends() []Backend { return append([]Backend{CPUBackend}, v.Backends...) }

// CUDA describes the CUDA toolkit of a variant.
type CUDA struct {
	// Version is the toolkit's, as 12.8.
	Version string
	// Archs are what CUDAAll stands for, oldest first.
	Archs []string
}

// toolchain is what compiling llama.cpp takes on Debian and Ubuntu: two
// compilers, because each is the better one for a part of it.
var toolchain = []string{"ccache", "clang", "cmake", "g++", "gcc", "libc6-dev", "ninja-build"}

// Catalogue lists the variants. A new variant is a new entry, not new code.
//
// The CUDA entry follows llama.cpp's own image: NVIDIA's devel image compiles,
// its runtime image (cudart, cublas, no compiler and no driver stub) runs.
// libcuda itself comes from the host's driver at run time, so the link against
// it must be allowed to stay open.
var Catalogue = []Variant{
	{
		Name:        "cpu",
		About:       "CPU only, on Debian",
		BuildBase:   "docker.io/library/debian:trixie-slim",
		RuntimeBase: "docker.io/library/debian:trixie-slim",
		OneBase:     true,
		Packages:    toolchain,
		UIPackages:  []string{"nodejs", "npm"},
		Libraries:   []string{"libgomp.so.1"},
	},
	{
		Name:        "cuda",
		About:       "NVIDIA GPUs (CUDA 12.8) and every CPU, on Ubuntu",
		BuildBase:   "docker.io/nvidia/cuda:12.8.1-devel-ubuntu24.04",
		RuntimeBase: "docker.io/nvidia/cuda:12.8.1-runtime-ubuntu24.04",
		Packages:    toolchain,
		Backends:    []Backend{{Name: "ggml-cuda", Flag: "GGML_CUDA"}},
		Flags: []string{
			"-DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined",
			"-DGGML_CUDA_NCCL=OFF",
		},
		Libraries: []string{"libgomp.so.1"},
		CUDA: &CUDA{
			Version: "12.8",
			Archs:   []string{"61", "70", "75", "80", "86", "89", "90", "100", "120"},
		},
		Env: []string{"NVIDIA_DRIVER_CAPABILITIES=compute,utility", "NVIDIA_VISIBLE_DEVICES=all"},
	},
}

// FindVariant returns a variant by name.
func FindVariant(name string) (Variant, error) {
	names := make([]string, 0, len(Catalogue))
	for _, v := range Catalogue {
		if v.Name == name {
			return v, nil
		}
		names = append(names, v.Name)
	}
	return Variant{}, fmt.Errorf("variant %q is not one of %s", name, strings.Join(names, ", "))
}
