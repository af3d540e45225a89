package doctor

import "strings"

// Severity says how much a finding limits the user.
type Severity string

// The severities.
const (
	// Error: building or running is impossible.
	Error Severity = "error"
	// Warning: building and running work, but not with everything that this machine has.
	Warning Severity = "warning"
	// Info: nothing is wrong.
	Info Severity = "info"
)

// Finding is one fact about the machine that the user should know, mostly a problem.
type Finding struct {
	// ID is the step that fixes it, or a name of its own if no step does.
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	// What is wrong, Why it matters, and what to Do about it.
	What string   `json:"what"`
	Why  string   `json:"why"`
	Do   []string `json:"do"`
}

// FindingGPUDriver is a GPU without its driver; no step installs one.
const FindingGPUDriver = "gpu-driver"

// matters says for each step why the problem matters.
var matters = map[string]string{
	StepPackages:     "a container engine builds the images, and git reads the sources",
	StepEngineStart:  "the engine builds and runs the images",
	StepEngineManual: "the engine builds and runs the images",
	StepEngineAddr:   "the engine builds and runs the images",
	StepEngineOld:    "BuildKit builds every image",
	StepConfig:       "the engine reads this file when it starts",
	StepDockerGroup:  "images are built and run through the engine's socket",
	StepBuildKit:     "BuildKit builds every image",
	StepGPUToolkit:   "until then models run on the CPU only",
	StepGPURuntime:   "until then models run on the CPU only",
}

// Findings lists problems in the order in which they have to be fixed. It covers everything
// that the program can do: a machine without findings needs no step.
func Findings(s State) []Finding {
	var all []Finding
	for _, step := range Plan(s, Want{Engine: true, Git: true}) {
		f := Finding{ID: step.ID, Severity: Error, What: step.Why, Why: matters[step.ID], Do: step.Commands}
		if step.Optional {
			f.Severity = Warning
		}
		if step.Manual() || len(f.Do) == 0 {
			f.Do = append([]string{"# " + step.What}, step.Commands...)
		}
		all = append(all, f)
	}
	if s.GPU.Hardware && !s.GPU.Driver {
		all = append(all, Finding{
			ID: FindingGPUDriver, Severity: Warning,
			What: "there is an NVIDIA GPU, but its driver is not loaded", Why: "until then models run on the CPU only",
			Do: []string{"# install the driver (see " + driverName(s) + "), then restart the machine"},
		})
	}
	return all
}

func driverName(s State) string {
	if s.Distro.Name == "" {
		return "the distribution's documentation"
	}
	return strings.TrimSpace(s.Distro.Name) + "'s documentation"
}
