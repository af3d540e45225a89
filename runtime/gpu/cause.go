package gpu

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/images"
)

// Circumstances are the facts about a server that does not use its GPU.
type Circumstances struct {
	// Evidence is read from the server's log or its list of devices.
	Evidence Evidence
	// Linked are the dynamic loader's lines about the backend's library: what it links
	// against, and which of that is missing.
	Linked []string
	// Host is the answer of this machine's driver; nil if the engine is on another machine.
	Host *images.GPUFacts
	// Given is true if the engine was asked to give GPUs to the container.
	Given bool
	// Archs are the CUDA architectures in the image's label.
	Archs []string
	// Asked is the user's list of devices; empty for all.
	Asked string
}

// missingLine matches what ldd, and the loader itself, print about a missing library.
var missingLine = regexp.MustCompile(`^\s*(\S+) => not found|error while loading shared libraries: ([^:\s]+): cannot open`)

// missing returns the libraries that the loader did not find.
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

// Explain returns the likely cause and what to do about it.
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
		return "the NVIDIA driver" + driver + " is too old for the image's CUDA", "update the driver, or build an image for this machine's GPU with `cuda-arch=auto`"
	case has("no kernel image is available"):
		return "the image has no code for this GPU" + c.unserved(), "build an image for this machine's GPU with `cuda-arch=auto`"
	case slices.Contains(missing, "libcuda.so.1") && c.Host != nil && c.Host.Driver == "" && len(c.Host.Devices) == 0:
		return "this machine has no NVIDIA driver (libcuda.so.1 is missing in the container): " + c.Host.Why, "install the driver and NVIDIA's container toolkit (see `llorch-bk doctor`), or run on the CPU with `allow-cpu`"
	case slices.Contains(missing, "libcuda.so.1"):
		return "the engine does not give the container the driver (libcuda.so.1 is missing in it)", toolkit
	case len(missing) > 0:
		return "the image's CUDA backend cannot be loaded: the image lacks " + strings.Join(missing, ", "), "build the image again"
	case has("no CUDA-capable device") || has("No such device"):
		return "the driver shows no GPU to the container", "check `gpus` against `nvidia-smi -L`, or " + toolkit
	case has("failed to initialize CUDA"):
		return "CUDA cannot be initialised: " + last(c.Evidence.Trouble), "check that `nvidia-smi` works on this machine; after a driver update, restart the machine"
	case has("out of memory"):
		return "the GPU's memory is too small: " + last(c.Evidence.Trouble), "free GPU memory, use a smaller model or context (`ctx`), or put fewer layers on the GPU with the server's own flag"
	case len(c.Evidence.Devices) > 0:
		return c.noLayers()
	case !c.Given:
		return "the engine has neither NVIDIA's runtime nor CDI devices", toolkit
	}
	return "the image's CUDA backend found no GPU", toolkit
}

// unserved names the GPU that the image has no code for, if it is known.
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
		return "the image's " + c.Evidence.Backend + " backend cannot be loaded: the image lacks " + strings.Join(missing, ", "), "build the image again"
	case strings.Contains(trouble, "Invalid device index") || strings.Contains(trouble, "Invalid Vulkan device index"):
		return "there is no " + c.Evidence.Backend + " device " + c.Asked, "remove `gpus` to use all devices, or name a lower number"
	case len(c.Evidence.Devices) > 0:
		return c.noLayers()
	}
	why = c.Evidence.Backend + " finds no GPU"
	if !c.Given {
		why += ": this machine has no /dev/dri, and the engine has no NVIDIA devices"
	}
	return why, "check the GPU's driver on this machine, or run on the CPU with `allow-cpu`; a driver that computes on the CPU (llvmpipe) is used only with `gpus=0`"
}

func (c Circumstances) noLayers() (why, do string) {
	return "the server finds " + c.Evidence.Devices[0].Name + ", but put no layer of the model on it",
		"remove the server's flag for GPU layers, or run on the CPU with `gpus=none`"
}

func last(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}
