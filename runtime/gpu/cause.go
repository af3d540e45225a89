package gpu

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/images"
)

// Circumstances are what is known where a server does not use its GPU.
type Circumstances struct {
	// Evidence is what its lines, or its list of devices, say.
	Evidence Evidence
	// Linked are the loader's lines about the backend's library: what it links
	// against and what of that is missing.
	Linked []string
	// Host is what this machine's driver says; nil where the engine is another machine's.
	Host *images.GPUFacts
	// Given says that the engine was asked to give the container GPUs.
	Given bool
	// Archs is what the image's CUDA code is for, as its label has it.
	Archs []string
	// Asked is the user's own list of devices; empty for all.
	Asked string
}

// missingLine is how ldd, and the loader itself, say what they do not find.
var missingLine = regexp.MustCompile(`^\s*(\S+) => not found|error while loading shared libraries: ([^:\s]+): cannot open`)

// missing are the libraries that the loader did not find.
func (c Circumstances) missing() []string {
	var out []string
	for _, line := range c.Linked {
		m := missingLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if name := m[1] + m[2]; !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// Explain names the likely cause and the way out.
func (c Circumstances) Explain() (why, do string) {
	if c.Evidence.Backend == "CUDA" {
		return c.cuda()
	}
	return c.other()
}

const toolkit = "install NVIDIA's container toolkit and restart the engine (see `llorch-bk doctor`), or run on the CPU with `allow-cpu`"

func (c Circumstances) cuda() (why, do string) {
	trouble := strings.Join(c.Evidence.Trouble, "\n")
	has := func(part string) bool { return strings.Contains(trouble, part) }
	missing := c.missing()
	switch {
	case has("driver version is insufficient"):
		driver := ""
		if c.Host != nil && c.Host.Driver != "" {
			driver = " (" + c.Host.Driver + ")"
		}
		return "the NVIDIA driver" + driver + " is older than the image's CUDA needs", "update the driver, or build an image for this machine's GPU with `cuda-arch=auto`"
	case has("no kernel image is available"):
		return "the image has no code for this GPU" + c.unserved(), "build an image for this machine's GPU with `cuda-arch=auto`"
	case slices.Contains(missing, "libcuda.so.1") && c.Host != nil && c.Host.Driver == "" && len(c.Host.Devices) == 0:
		return "this machine has no NVIDIA driver (libcuda.so.1 is missing in the container): " + c.Host.Why, "install the driver and NVIDIA's container toolkit (see `llorch-bk doctor`), or run on the CPU with `allow-cpu`"
	case slices.Contains(missing, "libcuda.so.1"):
		return "the engine gives the container no driver (libcuda.so.1 is missing in it)", toolkit
	case len(missing) > 0:
		return "the image's CUDA backend cannot be loaded, since the image lacks " + strings.Join(missing, ", "), "build the image again"
	case has("no CUDA-capable device") || has("No such device"):
		return "the driver shows the container no GPU", "check `gpus` against `nvidia-smi -L`, or " + toolkit
	case has("failed to initialize CUDA"):
		return "CUDA cannot be initialised: " + last(c.Evidence.Trouble), "see whether `nvidia-smi` works on this machine; after an update of the driver, restart it"
	case has("out of memory"):
		return "the GPU's memory does not do: " + last(c.Evidence.Trouble), "free some, take a smaller model or context (`ctx`), or put fewer layers on the GPU with the server's own flag for it"
	case len(c.Evidence.Devices) > 0:
		return c.noLayers()
	case !c.Given:
		return "the engine has neither NVIDIA's runtime nor CDI devices", toolkit
	}
	return "the image's CUDA backend found no GPU", toolkit
}

// unserved says which GPU the image has no code for, as far as that is known.
func (c Circumstances) unserved() string {
	if c.Host == nil {
		return ""
	}
	for _, d := range c.Host.Devices {
		if d.Capability == "" || len(c.Archs) == 0 {
			continue
		}
		if err := images.Serves(c.Archs, d.Capability); err != nil {
			return fmt.Sprintf(" (%s): %v", d.Name, err)
		}
	}
	return ""
}

func (c Circumstances) other() (why, do string) {
	trouble := strings.Join(c.Evidence.Trouble, "\n")
	missing := c.missing()
	switch {
	case len(missing) > 0:
		return "the image's " + c.Evidence.Backend + " backend cannot be loaded, since the image lacks " + strings.Join(missing, ", "), "build the image again"
	case strings.Contains(trouble, "Invalid device index") || strings.Contains(trouble, "Invalid Vulkan device index"):
		return "there is no " + c.Evidence.Backend + " device " + c.Asked, "leave `gpus` out to take what there is, or name a lower number"
	case len(c.Evidence.Devices) > 0:
		return c.noLayers()
	}
	why = "there is no GPU that " + c.Evidence.Backend + " sees"
	if !c.Given {
		why += ": this machine has no /dev/dri and the engine no NVIDIA devices"
	}
	return why, "check the GPU's driver on this machine; a driver that computes on the CPU (llvmpipe) is used only where it is named, with `gpus=0`; or run on the CPU with `allow-cpu`"
}

func (c Circumstances) noLayers() (why, do string) {
	return "the server sees " + c.Evidence.Devices[0].Name + " and put no layer of the model on it",
		"leave the server's flag for layers on the GPU out, or run on the CPU with `gpus=none`"
}

func last(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}
