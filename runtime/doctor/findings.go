package doctor

import "strings"

// Severity says what a finding means for the user.
type Severity string

// The severities.
const (
	// Error: building or running is not possible.
	Error Severity = "error"
	// Warning: it is possible, but not all that this machine could do.
	Warning Severity = "warning"
	// Info: nothing is wrong; it is good to know.
	Info Severity = "info"
)

// Finding is one thing that is wrong with the machine.
type Finding struct {
	// ID is the step that mends it, or a name of its own where none does.
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	// What is wrong, Why it matters, and what to Do about it.
	What string   `json:"what"`
	Why  string   `json:"why"`
	Do   []string `json:"do"`
}

// FindingGPUDriver is a GPU without its driver, which no step of ours mends.
const FindingGPUDriver = "gpu-driver"

// matters says of each step why a person should care.
var matters = map[string]string{
	StepPackages:     "images are built by a container engine from sources that git reads",
	StepEngineStart:  "images are built and run by the engine",
	StepEngineManual: "images are built and run by the engine",
	StepEngineAddr:   "images are built and run by the engine",
	StepEngineOld:    "every image is built by BuildKit",
	StepConfig:       "the engine reads this file when it starts",
	StepDockerGroup:  "images are built and run through the engine's socket",
	StepBuildKit:     "every image is built by BuildKit",
	StepGPUToolkit:   "models run on the CPU only until then",
	StepGPURuntime:   "models run on the CPU only until then",
}

// Findings are what is wrong, worst first as far as one hinders the other.
// They are about everything that the program can do; a machine without findings
// needs no step.
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
			What: "there is an NVIDIA GPU, but its driver is not loaded", Why: "models run on the CPU only until then",
			Do: []string{"# install the driver as " + driverName(s) + " says, then restart"},
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
