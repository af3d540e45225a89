package doctor

import (
	"fmt"
	"strings"
)

// engineLog is the log of an engine that this program starts.
const engineLog = "/var/log/llorch-dockerd.log"

// engineSteps are the steps for the engine itself; installing packages comes before.
func (s State) engineSteps() []Step {
	e := s.Engine
	switch {
	case e.Problem == None:
		return s.runningSteps()
	case e.Problem == Denied:
		return []Step{s.groupStep("the engine's socket refuses this user")}
	case e.Chosen:
		return []Step{s.addressStep()}
	case s.OS != "linux":
		return []Step{s.desktopStep()}
	case e.ConfigErr != nil:
		return []Step{{
			ID: StepConfig, What: "correct " + daemonJSON, NeedsRoot: true,
			Why: fmt.Sprintf("the engine cannot start: %v", e.ConfigErr),
		}}
	}
	var steps []Step
	if s.installs() || e.Dockerd != "" {
		steps = append(steps, s.startStep())
		if !s.User.Root && !s.User.Docker {
			steps = append(steps, s.groupStep("only root and the group docker may use the engine"))
		}
	}
	return steps
}

// installs reports whether the packages step installs an engine without starting it.
func (s State) installs() bool {
	return s.needsEngine() && s.debian()
}

func (s State) runningSteps() []Step {
	e := s.Engine
	switch {
	case e.Info.OSType != "" && e.Info.OSType != "linux":
		return []Step{{
			ID: StepEngineManual, What: "switch the engine to Linux containers",
			Why: "it runs " + e.Info.OSType + " containers",
		}}
	case e.tooOld():
		return []Step{{
			ID: StepEngineOld, What: "upgrade the engine to 18.09 or newer, as " + engineDocs + " says", NeedsRoot: true,
			Why: "engine " + e.Info.Version + " has no BuildKit",
		}}
	case e.BuildKitOff && e.local() && e.major() > 0 && e.major() < 23:
		return []Step{s.buildKitStep()}
	}
	return nil
}

func (s State) buildKitStep() Step {
	changes := map[string]any{"features": map[string]any{"buildkit": true}}
	merged, _, err := MergeDaemonJSON(s.Engine.Config, changes)
	step := Step{
		ID: StepBuildKit, What: "enable BuildKit in " + daemonJSON, NeedsRoot: true,
		Why: "engine " + s.Engine.Info.Version + " disables it there",
	}
	if err != nil {
		return step
	}
	reload := []string{"sh", "-c", "kill -HUP $(cat " + daemonPID.Path + ")"}
	if s.Systemd {
		reload = []string{"systemctl", "reload", "docker"}
	}
	reload = s.asRoot(reload...)
	step.Commands = []string{
		shellLine(s.asRoot("tee", daemonJSON)) + " <<'EOF'\n" + strings.TrimSuffix(string(merged), "\n") + "\nEOF",
		shellLine(reload),
	}
	if s.User.Root {
		step.action = changeConfig{path: daemonJSON, changes: changes, reload: reload}
	}
	return step
}

func (s State) startStep() Step {
	e := s.Engine
	step := Step{ID: StepEngineStart, What: "start the engine", NeedsRoot: true, Why: "it is installed but not running"}
	if e.Dockerd == "" {
		step.Why = "a newly installed engine does not start by itself everywhere"
	}
	switch {
	case e.PID > 0 || e.Problem == Silent:
		step.What, step.Why = "wait for the engine", "it is running but does not answer yet"
		if s.Systemd {
			step.Commands = []string{shellLine(s.asRoot("systemctl", "restart", "docker"))}
		}
		step.action = waitForEngine{pid: e.PID}
	case s.Systemd:
		act := runAndWait{
			argv:    s.asRoot("systemctl", "enable", "--now", "docker"),
			journal: s.asRoot("journalctl", "--unit=docker", "--lines=20", "--no-pager", "-o", "cat"),
		}
		step.Commands = []string{shellLine(act.argv)}
		if s.mayRoot() {
			step.action = act
		}
	default:
		step = s.startOwn(step)
	}
	return step
}

// startOwn is for machines without systemd, such as containers or WSL. There, policy-rc.d or
// the missing init keeps the package from starting the engine.
func (s State) startOwn(step Step) Step {
	dockerd := s.Engine.Dockerd
	if dockerd == "" {
		dockerd = "dockerd"
	}
	line := "setsid " + quote(dockerd) + " </dev/null >>" + engineLog + " 2>&1 &"
	if len(s.Engine.Stale) > 0 {
		step.Commands = append(step.Commands, shellLine(s.asRoot(append([]string{"rm", "-f"}, s.Engine.Stale...)...)))
	}
	if !s.mayRoot() {
		step.Commands = append(step.Commands, line)
		return step
	}
	if s.User.Root {
		step.Commands = append(step.Commands, line)
		step.action = startEngine{dockerd: dockerd, log: engineLog}
		return step
	}
	argv := s.asRoot("sh", "-c", line)
	step.Commands = append(step.Commands, shellLine(argv))
	// Apply checks pid files again right before it removes them. It cannot do that over
	// sudo, so then the user runs the commands.
	if len(s.Engine.Stale) == 0 {
		step.action = runAndWait{argv: argv}
	}
	return step
}

func (s State) groupStep(why string) Step {
	step := Step{
		ID: StepDockerGroup, What: "let this user use the engine (members of the group docker are as powerful as root)", Why: why, NeedsRoot: true,
		Commands: []string{shellLine(s.asRoot("usermod", "-aG", "docker", s.User.Name)), "newgrp docker"},
	}
	if s.User.Listed {
		step.What, step.NeedsRoot = "log in again", false
		step.Why = "this session began before the user joined the group docker"
		step.Commands = []string{"newgrp docker"}
	}
	return step
}

func (s State) addressStep() Step {
	step := Step{
		ID: StepEngineAddr, What: "make the engine at " + s.Engine.Addr + " answer, or choose another (DOCKER_HOST, docker context)",
		Why: fmt.Sprint(s.Engine.Err),
	}
	if strings.Contains(s.Engine.Addr, "/run/user/") && s.Systemd {
		step.Commands = []string{"systemctl --user start docker"}
	}
	return step
}

func (s State) desktopStep() Step {
	step := Step{ID: StepEngineManual, What: "install and start a container engine, as " + engineDocs + " says", Why: "no container engine answers"}
	if s.OS == "darwin" {
		step.Commands = []string{"brew install colima docker", "colima start"}
	}
	return step
}
