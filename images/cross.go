package images

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
)

// PlanCross says how an image is compiled on a builder of another platform: with a
// compiler that runs there and emits code for the image's platform. Nothing is emulated.
type PlanCross struct {
	// Builder is the platform that the steps run on.
	Builder string `json:"builder"`
	// Triple is GNU's name of the image's platform, the prefix of the cross tools' names.
	Triple string `json:"triple"`
}

// targets are the architectures that can be cross-compiled for, in Go's spelling:
// GNU's triple, uname's name of the machine, and the triple in package names of Debian
// and Ubuntu.
var targets = map[string]struct{ triple, machine, packages string }{
	"amd64": {"x86_64-linux-gnu", "x86_64", "x86-64-linux-gnu"},
	"arm64": {"aarch64-linux-gnu", "aarch64", "aarch64-linux-gnu"},
}

// Cross says how a variant is compiled on a builder of this platform. It returns nil if
// that is the image's own platform or unknown, and a fault.Usage if it is impossible.
func Cross(r Request, v Variant, builder string) (*PlanCross, error) {
	if builder == "" || builder == r.Platform {
		return nil, nil
	}
	refuse := func(why, do string) error {
		return fault.New(fault.Usage, fmt.Sprintf("an image for %s cannot be compiled on %s", r.Platform, builder), errors.New(why), do)
	}
	switch {
	case !slices.Contains(Platforms, builder):
		return nil, refuse("the builder's platform must be one of "+strings.Join(Platforms, ", "), "use another builder: `builder`")
	case v.Accelerator != nil:
		return nil, refuse("the GPU toolchain of variant "+v.Name+" runs only on the image's own platform", "select a builder of "+r.Platform+" with `builder`, or build `variant=cpu`")
	}
	return &PlanCross{Builder: builder, Triple: targets[r.Arch()].triple}, nil
}

// packages are a variant's, with Debian's cross compilers and the image's C library in
// place of the builder's own.
func (c *PlanCross) packages(names []string, arch string) []string {
	if c == nil {
		return names
	}
	suffix := targets[arch].packages
	cross := map[string]string{"g++": "g++-" + suffix, "gcc": "gcc-" + suffix, "libc6-dev": "libc6-dev-" + arch + "-cross"}
	out := slices.Clone(names)
	for i, name := range out {
		if other, ok := cross[name]; ok {
			out[i] = other
		}
	}
	return out
}

// flags tell CMake what it compiles for, and keep it from the builder's own libraries.
// Debian has the image's in one folder and its compiler's in another. Programs that run
// during the build are the builder's.
func (c *PlanCross) flags(arch string) []string {
	if c == nil {
		return nil
	}
	return []string{
		"-DCMAKE_C_COMPILER=" + c.Triple + "-gcc",
		"-DCMAKE_CXX_COMPILER=" + c.Triple + "-g++",
		"-DCMAKE_FIND_ROOT_PATH=/usr/" + c.Triple + ";/usr/lib/gcc-cross/" + c.Triple,
		"-DCMAKE_FIND_ROOT_PATH_MODE_INCLUDE=ONLY",
		"-DCMAKE_FIND_ROOT_PATH_MODE_LIBRARY=ONLY",
		"-DCMAKE_FIND_ROOT_PATH_MODE_PACKAGE=ONLY",
		"-DCMAKE_FIND_ROOT_PATH_MODE_PROGRAM=NEVER",
		"-DCMAKE_SYSTEM_NAME=Linux",
		"-DCMAKE_SYSTEM_PROCESSOR=" + targets[arch].machine,
	}
}

// note says what cross-compiling leaves open.
func (c *PlanCross) note(platform string) string {
	return fmt.Sprintf("the server's start is checked only on a builder that can run %s", platform)
}
