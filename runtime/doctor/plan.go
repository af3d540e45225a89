package doctor

import "slices"

// The ids of the steps.
const (
	StepPackages     = "packages"
	StepEngineStart  = "engine-start"
	StepEngineManual = "engine"
	StepEngineAddr   = "engine-address"
	StepEngineOld    = "engine-version"
	StepConfig       = "engine-config"
	StepDockerGroup  = "docker-group"
	StepBuildKit     = "buildkit"
	StepGPUToolkit   = "gpu-toolkit"
	StepGPURuntime   = "gpu-runtime"
)

const (
	engineDocs  = "https://docs.docker.com/engine/install/"
	toolkitDocs = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html"
)

// Want says what the machine should be able to do.
type Want struct {
	// Engine: build and run images here.
	Engine bool
	// Git: read a source's history from a local folder or bundle.
	Git bool
	// Bootstrap: make a base image without a registry.
	Bootstrap bool
}

// Plan returns the steps from a state to the wanted one, in order; none if the machine is
// ready.
func Plan(s State, w Want) []Step {
	var steps []Step
	missing := s.missing(w)
	if len(missing) > 0 {
		steps = append(steps, s.packages(missing, w))
	}
	if !w.Engine {
		return steps
	}
	steps = append(steps, s.engineSteps()...)
	return append(steps, s.gpuSteps()...)
}

// gpuSteps lists what a GPU still lacks. These steps are always for the user: a driver or
// toolkit of the wrong version breaks a working machine.
func (s State) gpuSteps() []Step {
	e := s.Engine
	if !s.GPU.Driver || s.GPU.Configured || e.Chosen && !e.local() {
		return nil
	}
	restart := []string{"systemctl", "restart", "docker"}
	if !s.Systemd {
		restart = []string{"service", "docker", "restart"}
	}
	configure := []string{
		shellLine(s.asRoot("nvidia-ctk", "runtime", "configure", "--runtime=docker")),
		shellLine(s.asRoot(restart...)),
	}
	if s.GPU.Toolkit {
		if e.Problem != None {
			return nil
		}
		return []Step{{
			ID: StepGPURuntime, What: "tell the engine about the NVIDIA container toolkit", NeedsRoot: true, Optional: true,
			Why: "the toolkit is installed, but the engine is not configured for it", Commands: configure,
		}}
	}
	step := Step{
		ID: StepGPUToolkit, What: "install the NVIDIA container toolkit (see " + toolkitDocs + ")", NeedsRoot: true, Optional: true,
		Why: "containers cannot use the NVIDIA GPU without the toolkit", Commands: configure,
	}
	if s.Apt {
		step.Commands = slices.Insert(step.Commands, 0, shellLine(s.asRoot("apt-get", "install", "-y", "nvidia-container-toolkit")))
	}
	return []Step{step}
}

// mayRoot reports whether commands can run as root.
func (s State) mayRoot() bool { return s.User.Root || s.Sudo }

// asRoot puts sudo before argv if that is needed and there is a sudo. Otherwise the step's
// NeedsRoot tells the user.
func (s State) asRoot(argv ...string) []string {
	if s.User.Root || !s.Sudo {
		return argv
	}
	return append([]string{"sudo"}, argv...)
}
