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

// Words for --cuda-arch beside a list.
const (
	// CUDAAll asks for every architecture that the toolkit compiles and people have.
	CUDAAll = "all"
	// CUDAAuto asks for the architectures of the engine's machine.
	CUDAAuto = "auto"
)

// CUDA describes a CUDA toolkit. Its facts are NVIDIA's: the release notes'
// tables of minimum drivers, and what nvcc's --list-gpu-arch prints.
type CUDA struct {
	// Version is the toolkit's, as 12.8.
	Version string
	// Archs are what CUDAAll stands for, oldest first.
	Archs []string
	// Compiles are all architectures that nvcc compiles, oldest first.
	Compiles []string
	// MinDriver is the oldest driver that runs what this toolkit compiled, by
	// NVIDIA's promise for the minor versions of a major one.
	MinDriver string
	// Driver is the one that came with the toolkit: older ones run machine code of
	// it, but do not compile its PTX.
	Driver string
}

// PlanCUDA says what the image's CUDA code is compiled for.
type PlanCUDA struct {
	Version string `json:"version"`
	// Archs is the value of CMAKE_CUDA_ARCHITECTURES: machine code for each,
	// and PTX of the newest for what comes after it.
	Archs []string `json:"architectures"`
	// Notes are what is to be known of the choice.
	Notes []string `json:"notes,omitempty"`

	// jit is true where a GPU has no machine code.
	jit bool
}

// GPUFacts are what a machine's NVIDIA driver says.
type GPUFacts struct {
	// Driver is its version, as 570.124.06; empty where there is none.
	Driver string `json:"driver,omitempty"`
	// Devices are the GPUs, in the driver's order.
	Devices []GPU `json:"devices,omitempty"`
	// Why says in words why there are no devices, or not all that is known of them.
	Why string `json:"why,omitempty"`
}

// GPU is one device.
type GPU struct {
	Index int    `json:"index"`
	UUID  string `json:"uuid,omitempty"`
	Name  string `json:"name"`
	// Capability is its compute capability, as 8.6.
	Capability string `json:"capability,omitempty"`
	// MemoryMiB is its memory.
	MemoryMiB int `json:"memory_mib,omitempty"`
}

// Capabilities are the compute capabilities of the devices as architectures (86),
// each once, oldest first.
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

// Choice is a variant that does what a request asks for, and how.
type Choice struct {
	Variant Variant
	// CUDA is nil for variants without.
	CUDA *PlanCUDA
}

// Choose decides which entry of the catalogue a request means: the one that it
// names, or of a family the first one that the facts allow. An entry whose base
// is in f.Unreachable is left out. What cannot work is a fault: Usage where the
// request contradicts itself, Machine where it contradicts the machine.
func Choose(r Request, f Facts) (Choice, error) {
	members, err := findVariants(r.Variant)
	if err != nil {
		return Choice{}, fault.New(fault.Usage, "there is no such variant", err, "see llorch-bk help build")
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
			whys = append(whys, fmt.Errorf("%s: %s cannot be had", v.Name, familiar(base)))
			machine = true
			continue
		}
		plan, no := v.Accelerator.CUDA.plan(r.CUDAArch, f.GPU)
		// Machine code for every GPU is better than the order of preference.
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
		// The other toolkits may do what this one does not.
		for _, v := range Catalogue {
			if v.Family == members[0].Family && v.Name != members[0].Name && v.Accelerator.CUDA != nil {
				if _, no := v.Accelerator.CUDA.plan(r.CUDAArch, f.GPU); no == nil {
					do = append(do, "use `variant="+v.Name+"`")
				}
			}
		}
	}
	return Choice{}, fault.New(class, "no CUDA toolkit does what is asked for", errors.Join(whys...), way(do))
}

// way joins what can be done, each once.
func way(do []string) string {
	var out []string
	for _, d := range do {
		if d != "" && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return strings.Join(out, "; or ")
}

// refusal is why a toolkit does not do.
type refusal struct {
	why, do string
	// machine is true where it is the machine's fault and not the request's.
	machine bool
}

func (r *refusal) Error() string { return r.why }

// plan decides what to compile. archs is the request's list, gpu what is known of
// the machine that is to run it; a driver counts only where CUDAAuto asks for this
// very machine.
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
	const name = "name the architectures, as `cuda-arch=86,89`, or take them all with `cuda-arch=all`"
	switch {
	case gpu == nil:
		return nil, &refusal{"the GPUs of the engine's machine cannot be asked from here", name, true}
	case len(gpu.Capabilities()) == 0:
		return nil, &refusal{cmp.Or(gpu.Why, "there is no NVIDIA GPU here"), name, true}
	case gpu.Driver != "" && CompareVersions(gpu.Driver, c.MinDriver) < 0:
		return nil, &refusal{
			fmt.Sprintf("CUDA %s needs driver %s or newer, and this machine has %s", c.Version, c.MinDriver, gpu.Driver),
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
				p.Notes = append(p.Notes, fmt.Sprintf("GPUs of %s run the code for %s", dotted(have), dotted(code)))
			}
			real = append(real, code)
		case compareArchs(have, c.newestPortable()) > 0:
			if gpu.Driver != "" && CompareVersions(gpu.Driver, c.Driver) < 0 {
				return nil, &refusal{
					fmt.Sprintf("CUDA %s does not know GPUs of %s, and driver %s does not compile its code for them (%s does)", c.Version, dotted(have), gpu.Driver, c.Driver),
					"update the NVIDIA driver to " + c.Driver + " or newer", true,
				}
			}
			ptx, p.jit = c.newestPortable(), true
			p.Notes = append(p.Notes, fmt.Sprintf("CUDA %s does not know GPUs of %s: the driver compiles the code for them when the server first starts, which takes minutes", c.Version, dotted(have)))
		default:
			no := c.cannot(have)
			no.machine = true
			return nil, no
		}
	}
	p.Archs = withPTX(real, ptx)
	return p, nil
}

// cannot is why an architecture is not compiled.
func (c *CUDA) cannot(arch string) *refusal {
	a := strings.TrimRight(arch, "af")
	if compareArchs(a, c.Compiles[0]) < 0 {
		return &refusal{why: fmt.Sprintf("CUDA %s no longer compiles for %s (%s); its oldest is %s", c.Version, dotted(a), generation(a), dotted(c.Compiles[0])), do: "use `variant=vulkan`, or `variant=cpu`"}
	}
	return &refusal{why: fmt.Sprintf("CUDA %s does not compile for %s", c.Version, dotted(a)), do: "name one of " + strings.Join(c.Compiles, ", ")}
}

// codeFor is the architecture whose machine code a GPU runs: its own, else the
// nearest older one of the same generation. Of 12.x llama.cpp compiles what runs
// on exactly its own (it makes 120 into 120a); empty for none.
func (c *CUDA) codeFor(have string) string {
	best := ""
	for _, a := range c.Compiles {
		if a == have || !slices.Contains(tegra, a) && major(a) == major(have) && major(a) != "12" && compareArchs(a, have) < 0 {
			best = a
		}
	}
	return best
}

// newestPortable is the newest architecture whose PTX newer GPUs take, too.
func (c *CUDA) newestPortable() string {
	best := ""
	for _, a := range c.Compiles {
		if major(a) != "12" && !slices.Contains(tegra, a) {
			best = a
		}
	}
	return best
}

// tegra are architectures of systems on a chip, which stand beside the line of the
// cards: what is compiled for them is for nothing else.
var tegra = []string{"53", "62", "72", "87", "88", "101", "110"}

// withPTX asks for machine code for each architecture, and PTX for the newest that
// has portable PTX, or for the one that is named: without the -real suffix CMake
// would add PTX for each, and PTX alone makes the first start compile for minutes.
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

// compareArchs orders 90, 90a, 100.
func compareArchs(a, b string) int {
	na, nb := strings.TrimRight(a, "af"), strings.TrimRight(b, "af")
	return cmp.Or(cmp.Compare(len(na), len(nb)), strings.Compare(a, b))
}

// CompareVersions orders driver versions by their numbers.
func CompareVersions(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(x), len(y)) {
		var m, n int
		if i < len(x) {
			m, _ = strconv.Atoi(x[i]) // what is no number counts as 0
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

// dotted is an architecture as a compute capability: 8.6 of 86.
func dotted(arch string) string {
	if len(arch) < 2 {
		return arch
	}
	return major(arch) + "." + arch[len(arch)-1:]
}

// generation is what people call the GPUs of an architecture.
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

// Serves says whether code that was compiled for these architectures (as in
// PlanCUDA.Archs) runs on a GPU of this capability, and if not, why.
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
	return fmt.Errorf("the image has code for %s, and the GPU is of %s", strings.Join(archs, ", "), capability)
}

// MinDriver is the oldest driver that runs what a CUDA toolkit of this version
// compiled; empty for a version that is not in the catalogue.
func MinDriver(version string) string {
	for _, v := range Catalogue {
		if v.Accelerator != nil && v.Accelerator.CUDA != nil && v.Accelerator.CUDA.Version == version {
			return v.Accelerator.CUDA.MinDriver
		}
	}
	return ""
}
