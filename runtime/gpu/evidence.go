package gpu

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Device is a GPU as ggml names it.
type Device struct {
	// Name is ggml's name, as CUDA0.
	Name string `json:"name"`
	// Description is the driver's name for it, as NVIDIA GeForce RTX 3090.
	Description string `json:"description,omitempty"`
}

// Evidence is what a server's log says about the GPUs of one backend.
type Evidence struct {
	// Backend is the backend to look for, as CUDA.
	Backend string
	// Loaded is true if the backend reports that it was loaded and has devices.
	Loaded bool
	// Devices are the devices in the log, each once.
	Devices []Device
	// Layers of Of layers are on GPUs; both are 0 if no line says so.
	Layers, Of int
	// BufferMiB is how much of the model is in GPU memory.
	BufferMiB float64
	// Lines are the lines that prove it, and Trouble those that explain a failure; each once,
	// without the log's prefix.
	Lines, Trouble []string
}

// Proven reports whether the backend has a device with layers of the model on it.
func (e Evidence) Proven() bool {
	return len(e.Devices) > 0 && (e.Layers > 0 || e.Of == 0 && e.BufferMiB > 0)
}

// The log lines of llama.cpp's releases since 2024. Function names changed
// (llm_load_tensors, load_tensors), and a log may put time and level in front.
var (
	prefix       = regexp.MustCompile(`^(?:\d+\.\d\d\.\d{3}\.\d{3} )?(?:[IWED] )?`)
	loadedLine   = regexp.MustCompile(`^load_backend: loaded (\S+) backend from `)
	foundLine    = regexp.MustCompile(`^ggml_(?:cuda_init|vulkan): [Ff]ound (\d+) (\S+) devices?\b`)
	cudaDevice   = regexp.MustCompile(`^\s*Device (\d+): (.+?), compute capability `)
	vulkanDevice = regexp.MustCompile(`^ggml_vulkan: (\d+) = (.+?) \| uma: `)
	usingLine    = regexp.MustCompile(`using device ([A-Za-z]+\d+) \((.+?)\)(?: \([^()]*\))? - \d+ MiB free`)
	listedLine   = regexp.MustCompile(`^\s+([A-Za-z]+\d+): (.+) \(\d+ MiB, \d+ MiB free\)$`)
	layersLine   = regexp.MustCompile(`offloaded (\d+)/(\d+) layers to GPU`)
	bufferLine   = regexp.MustCompile(`load_tensors: +([A-Za-z]+)(\d+) (?:model )?buffer size = +([0-9.]+) MiB`)
)

// troubles are parts of lines that explain why a GPU is not used.
var troubles = []string{
	"failed to initialize CUDA", "CUDA error", "no usable GPU found", "no kernel image is available",
	"CUDA driver version is insufficient", "ggml_vulkan: No devices found", "Invalid device index", "Invalid Vulkan device index",
	"failed to load ", "Failed to initialize Vulkan", "vk::", "ErrorOutOfDeviceMemory", "out of memory", "No such device",
}

// Look reads a server's lines about a backend, named by the prefix of ggml's devices.
func Look(backend string, lines []string) Evidence {
	e := Evidence{Backend: backend}
	for _, raw := range lines {
		e.read(strings.TrimRight(raw, " \r\n"))
	}
	return e
}

func (e *Evidence) read(raw string) {
	line := prefix.ReplaceAllString(raw, "")
	proves := func() {
		if text := strings.Join(strings.Fields(line), " "); !slices.Contains(e.Lines, text) {
			e.Lines = append(e.Lines, text)
		}
	}
	mine := func(name string) bool { return strings.EqualFold(strings.TrimRight(name, "0123456789"), e.Backend) }
	switch {
	case match(loadedLine, line, func(m []string) bool { return mine(m[1]) }):
		e.Loaded = true
		proves()
	case match(foundLine, line, func(m []string) bool { return mine(m[2]) && m[1] != "0" }):
		e.Loaded = true
		proves()
	case e.Backend == "CUDA" && match(cudaDevice, line, func(m []string) bool { return e.device(e.Backend+m[1], m[2]) }):
		proves()
	case e.Backend == "Vulkan" && match(vulkanDevice, line, func(m []string) bool { return e.device(e.Backend+m[1], m[2]) }):
		proves()
	case match(usingLine, line, func(m []string) bool { return mine(m[1]) && e.device(m[1], m[2]) }):
		proves()
	case match(listedLine, line, func(m []string) bool { return mine(m[1]) && e.device(m[1], m[2]) }):
		proves()
	case match(layersLine, line, func(m []string) bool {
		e.Layers, _ = strconv.Atoi(m[1]) // the pattern allows only digits
		e.Of, _ = strconv.Atoi(m[2])
		return e.Layers > 0
	}):
		proves()
	case match(bufferLine, line, func(m []string) bool {
		size, err := strconv.ParseFloat(m[3], 64)
		if err != nil || size == 0 || !mine(m[1]) {
			return false
		}
		e.BufferMiB += size
		return true
	}):
		proves()
	default:
		for _, t := range troubles {
			if strings.Contains(line, t) && !slices.Contains(e.Trouble, line) {
				e.Trouble = append(e.Trouble, line)
				return
			}
		}
	}
}

func match(re *regexp.Regexp, line string, use func(m []string) bool) bool {
	m := re.FindStringSubmatch(line)
	return m != nil && use(m)
}

// device records a device once, with its first description.
func (e *Evidence) device(name, description string) bool {
	if !slices.ContainsFunc(e.Devices, func(d Device) bool { return d.Name == name }) {
		e.Devices = append(e.Devices, Device{Name: name, Description: description})
	}
	return true
}
