package doctor

import "slices"

// The steps, by ID.
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

// Want is what the machine is to be able to do.
type Want struct {
	// Engine: build and run images here.
	Engine bool
	// Git: read a source's history from a local folder or bundle.
	Git bool
	// Bootstrap: make a base image without a registry.
	Bootstrap bool
}

// Plan gives the steps from a state to what is wanted, in the order in which
// they have to be done; none when all is well.
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

// gpuSteps name what a GPU still lacks. They are never done unasked: a driver
// or toolkit of the wrong version breaks what works.
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
			Why: "the toolkit is installed, but the engine knows no GPU", Commands: configure,
		}}
	}
	step := Step{
		ID: StepGPUToolkit, What: "install the NVIDIA container toolkit, as " + toolkitDocs + " says", NeedsRoot: true, Optional: true,
		Why: "there is an NVIDIA GPU, and without the toolkit no container can use it", Commands: configure,
	}
	if s.Apt {
		step.Commands = slices.Insert(step.Commands, 0, shellLine(s.asRoot("apt-get", "install", "-y", "nvidia-container-toolkit")))
	}
	return []Step{step}
}

// mayRoot says that we can act as root.
func (s State) mayRoot() bool { return s.User.Root || s.Sudo }

// asRoot is argv with sudo before it where that is needed. Without a sudo the
// step's NeedsRoot says whose command it is.
func (s State) asRoot(argv ...string) []string {
	if s.User.Root || !s.Sudo {
		return argv
	}
	return append([]string{"sudo"}, argv...)
}
