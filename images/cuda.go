package images

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
)

// Values of `cuda-arch` other than a list.
const (
	// CUDAAll selects CUDA.Archs of the toolkit.
	CUDAAll = "all"
	// CUDAAuto selects the architectures of the GPUs in the engine's machine.
	CUDAAuto = "auto"
)

// CUDA describes a CUDA toolkit. The data is NVIDIA's: the release notes' tables of
// minimum drivers, and the output of nvcc --list-gpu-arch.
type CUDA struct {
	// Version is the toolkit's, such as 12.8.
	Version string
	// Archs are the architectures that CUDAAll selects, oldest first.
	Archs []string
	// Compiles are all architectures that nvcc can compile, oldest first.
	Compiles []string
	// MinDriver is the oldest driver that runs code of this toolkit, by NVIDIA's
	// promise of compatibility between minor versions of one major version.
	MinDriver string
	// Driver is the driver released with the toolkit. Older ones run its machine code
	// but do not compile its PTX.
	Driver string
}

// PlanCUDA says which GPUs the image's CUDA code is compiled for.
type PlanCUDA struct {
	Version string `json:"version"`
	// Archs is the value of CMAKE_CUDA_ARCHITECTURES: machine code for each, and PTX
	// of the newest one for GPUs that are newer still.
	Archs []string `json:"architectures"`
	// Notes tell a person about consequences of the choice.
	Notes []string `json:"notes,omitempty"`

	// jit is true if a GPU has no machine code and its driver must compile the PTX.
	jit bool
}

// GPUFacts are what a machine's NVIDIA driver reports.
type GPUFacts struct {
	// Driver is its version, such as 570.124.06; empty without a driver.
	Driver string `json:"driver,omitempty"`
	// Devices are the GPUs, in the driver's order.
	Devices []GPU `json:"devices,omitempty"`
	// Why explains why there are no devices, or why some of their data is missing.
	Why string `json:"why,omitempty"`
}

// GPU is one device.
type GPU struct {
	Index int    `json:"index"`
	UUID  string `json:"uuid,omitempty"`
	Name  string `json:"name"`
	// Capability is its compute capability, such as 8.6.
	Capability string `json:"capability,omitempty"`
	// MemoryMiB is the size of its memory.
	MemoryMiB int `json:"memory_mib,omitempty"`
}

// Capabilities are the compute capabilities of the devices as architectures (86),
// without duplicates, oldest first.
func (f GPUFacts) Capabilities() []string {
	var out []string
	for _, d := range f.Devices {
		if d.Capability != "" {
			out = append(out, strings.ReplaceAll(d.Capability, ".", ""))
		}
	}
	slices.SortFunc(out, compareArchs)
	return slices.Compact(out)
}

// Choice is a variant that fits a request, and its CUDA architectures.
type Choice struct {
	Variant Variant
	// CUDA is nil for variants without CUDA.
	CUDA *PlanCUDA
}

// Choose selects the catalogue's entry for a request: the one that the request names,
// or the first one of a family that the facts allow. It skips entries whose base is in
// f.Unreachable. If none fits, the error is a fault: Usage if the request contradicts
// itself, Machine if it contradicts the machine.
func Choose(r Request, f Facts) (Choice, error) {
	members, err := findVariants(r.Variant)
	if err != nil {
		return Choice{}, fault.New(fault.Usage, "unknown variant", err, "see llorch-bk help build")
	}
	var whys []error
	var do []string
	machine := false
	var second *Choice
	for _, v := range members {
		if v.Accelerator == nil || v.Accelerator.CUDA == nil {
			return Choice{Variant: v}, nil
		}
		if base := acceleratorBase(r, v); slices.Contains(f.Unreachable, base) {
			whys = append(whys, fmt.Errorf("%s: cannot pull %s", v.Name, shortRef(base)))
			machine = true
			continue
		}
		plan, no := v.Accelerator.CUDA.plan(r.CUDAArch, f.GPU)
		// Machine code for every GPU matters more than the order of preference.
		if no == nil && plan.jit {
			if second == nil {
				second = &Choice{Variant: v, CUDA: plan}
			}
			continue
		}
		if no == nil {
			return Choice{Variant: v, CUDA: plan}, nil
		}
		whys = append(whys, fmt.Errorf("%s: %w", v.Name, no))
		machine = machine || no.machine
		do = append(do, no.do)
	}
	if second != nil {
		return *second, nil
	}
	class := fault.Usage
	if machine {
		class = fault.Machine
	}
	if len(members) == 1 {
		// Another toolkit may fit where this one does not.
		for _, v := range Catalogue {
			if v.Family == members[0].Family && v.Name != members[0].Name && v.Accelerator.CUDA != nil {
				if _, no := v.Accelerator.CUDA.plan(r.CUDAArch, f.GPU); no == nil {
					do = append(do, "use `variant="+v.Name+"`")
				}
			}
		}
	}
	return Choice{}, fault.New(class, "no CUDA toolkit fits the request", errors.Join(whys...), joinAdvice(do))
}

// joinAdvice joins the different pieces of advice.
func joinAdvice(do []string) string {
	var out []string
	for _, d := range do {
		if d != "" && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return strings.Join(out, "; or ")
}

// refusal says why a toolkit does not fit.
type refusal struct {
	why, do string
	// machine is true if the machine is the reason, and not the request.
	machine bool
}

func (r *refusal) Error() string { return r.why }

// plan decides what to compile. archs is the request's list; gpu describes the machine
// that will run the image. The driver's version matters only for CUDAAuto, which asks
// for exactly this machine.
func (c *CUDA) plan(archs []string, gpu *GPUFacts) (*PlanCUDA, *refusal) {
	p := &PlanCUDA{Version: c.Version}
	switch {
	case len(archs) == 0 || slices.Equal(archs, []string{CUDAAll}):
		p.Archs = withPTX(c.Archs, "")
		return p, nil
	case !slices.Equal(archs, []string{CUDAAuto}):
		for _, a := range archs {
			if !slices.Contains(c.Compiles, strings.TrimRight(a, "af")) {
				return nil, c.cannot(a)
			}
		}
		p.Archs = withPTX(archs, "")
		return p, nil
	}
	const name = "name the architectures, such as `cuda-arch=86,89`, or compile for all with `cuda-arch=all`"
	switch {
	case gpu == nil:
		return nil, &refusal{"the engine runs on another machine, whose GPUs cannot be queried from here", name, true}
	case len(gpu.Capabilities()) == 0:
		return nil, &refusal{cmp.Or(gpu.Why, "there is no NVIDIA GPU here"), name, true}
	case gpu.Driver != "" && CompareVersions(gpu.Driver, c.MinDriver) < 0:
		return nil, &refusal{
			fmt.Sprintf("CUDA %s needs driver %s or newer, but this machine has %s", c.Version, c.MinDriver, gpu.Driver),
			"update the NVIDIA driver to " + c.MinDriver + " or newer, or use `variant=vulkan`", true,
		}
	}
	var real []string
	ptx := ""
	for _, have := range gpu.Capabilities() {
		code := c.codeFor(have)
		switch {
		case code != "":
			if code != have {
				p.Notes = append(p.Notes, fmt.Sprintf("GPUs of compute capability %s run the code for %s", dotted(have), dotted(code)))
			}
			real = append(real, code)
		case compareArchs(have, c.newestPortable()) > 0:
			if gpu.Driver != "" && CompareVersions(gpu.Driver, c.Driver) < 0 {
				return nil, &refusal{
					fmt.Sprintf("CUDA %s does not support GPUs of compute capability %s, and driver %s is too old to compile its PTX for them (needs %s)", c.Version, dotted(have), gpu.Driver, c.Driver),
					"update the NVIDIA driver to " + c.Driver + " or newer", true,
				}
			}
			ptx, p.jit = c.newestPortable(), true
			p.Notes = append(p.Notes, fmt.Sprintf("CUDA %s does not support GPUs of compute capability %s: their driver compiles the code on the server's first start, which takes minutes", c.Version, dotted(have)))
		default:
			no := c.cannot(have)
			no.machine = true
			return nil, no
		}
	}
	p.Archs = withPTX(real, ptx)
	return p, nil
}

// cannot explains why an architecture is not compiled.
func (c *CUDA) cannot(arch string) *refusal {
	a := strings.TrimRight(arch, "af")
	if compareArchs(a, c.Compiles[0]) < 0 {
		return &refusal{why: fmt.Sprintf("CUDA %s no longer supports compute capability %s (%s); its oldest is %s", c.Version, dotted(a), generation(a), dotted(c.Compiles[0])), do: "use `variant=vulkan`, or `variant=cpu`"}
	}
	return &refusal{why: fmt.Sprintf("CUDA %s does not support compute capability %s", c.Version, dotted(a)), do: "name one of " + strings.Join(c.Compiles, ", ")}
}

// codeFor is the architecture whose machine code a GPU runs: its own, else the nearest
// older one of the same generation. For 12.x it must be its own, because llama.cpp
// compiles 120 as 120a. It is empty if there is none.
func (c *CUDA) codeFor(have string) string {
	best := ""
	for _, a := range c.Compiles {
		if a == have || !slices.Contains(tegra, a) && major(a) == major(have) && major(a) != "12" && compareArchs(a, have) < 0 {
			best = a
		}
	}
	return best
}

// newestPortable is the newest architecture whose PTX newer GPUs can use.
func (c *CUDA) newestPortable() string {
	best := ""
	for _, a := range c.Compiles {
		if major(a) != "12" && !slices.Contains(tegra, a) {
			best = a
		}
	}
	return best
}

// tegra are architectures of systems on a chip. Code for them runs on nothing else.
var tegra = []string{"53", "62", "72", "87", "88", "101", "110"}

// withPTX asks for machine code for each architecture, and for PTX of the newest one that
// has portable PTX, or of ptx. Without the -real suffix CMake would add PTX for each
// architecture. PTX alone would make the first start compile for minutes.
func withPTX(archs []string, ptx string) []string {
	archs = slices.Clone(archs)
	if ptx == "" {
		for _, a := range archs {
			if major(strings.TrimRight(a, "af")) != "12" && a == strings.TrimRight(a, "af") {
				ptx = a
			}
		}
	} else if !slices.Contains(archs, ptx) {
		archs = append(archs, ptx)
	}
	slices.SortFunc(archs, compareArchs)
	archs = slices.Compact(archs)
	for i, a := range archs {
		if a != ptx {
			archs[i] = a + "-real"
		}
	}
	return archs
}

// compareArchs orders architectures by number: 90, 90a, 100.
func compareArchs(a, b string) int {
	na, nb := strings.TrimRight(a, "af"), strings.TrimRight(b, "af")
	return cmp.Or(cmp.Compare(len(na), len(nb)), strings.Compare(a, b))
}

// CompareVersions compares driver versions number by number.
func CompareVersions(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(x), len(y)) {
		var m, n int
		if i < len(x) {
			m, _ = strconv.Atoi(x[i]) // not a number counts as 0
		}
		if i < len(y) {
			n, _ = strconv.Atoi(y[i])
		}
		if c := cmp.Compare(m, n); c != 0 {
			return c
		}
	}
	return 0
}

// major is the generation of an architecture: 8 of 86, 12 of 120.
func major(arch string) string { return arch[:max(0, len(arch)-1)] }

// dotted is an architecture as a compute capability: 8.6 for 86.
func dotted(arch string) string {
	if len(arch) < 2 {
		return arch
	}
	return major(arch) + "." + arch[len(arch)-1:]
}

// generation is the common name for the GPUs of an architecture.
func generation(arch string) string {
	switch m := major(arch); {
	case m == "2":
		return "Fermi"
	case m == "3":
		return "Kepler"
	case m == "5":
		return "Maxwell"
	case m == "6":
		return "Pascal"
	case arch == "70" || arch == "72":
		return "Volta"
	case m == "7":
		return "Turing"
	case arch == "89":
		return "Ada"
	case m == "8":
		return "Ampere"
	case m == "9":
		return "Hopper"
	}
	return "Blackwell or later"
}

// Serves returns nil if code compiled for these architectures (as in PlanCUDA.Archs)
// runs on a GPU of this capability, and otherwise an error that says why not.
func Serves(archs []string, capability string) error {
	have := strings.ReplaceAll(capability, ".", "")
	for _, a := range archs {
		code, isReal := strings.CutSuffix(a, "-real")
		number := strings.TrimRight(code, "af")
		exact := number == have
		sameGeneration := code == number && major(number) == major(have) && major(number) != "12" && compareArchs(number, have) <= 0
		ptx := !isReal && code == number && major(number) != "12" && compareArchs(number, have) <= 0
		if exact || sameGeneration || ptx {
			return nil
		}
	}
	return fmt.Errorf("the image has code for %s, but the GPU has compute capability %s", strings.Join(archs, ", "), capability)
}

// MinDriver is the oldest driver that runs code of the CUDA toolkit with this version;
// empty for a version that is not in the catalogue.
func MinDriver(version string) string {
	for _, v := range Catalogue {
		if v.Accelerator != nil && v.Accelerator.CUDA != nil && v.Accelerator.CUDA.Version == version {
			return v.Accelerator.CUDA.MinDriver
		}
	}
	return ""
}
