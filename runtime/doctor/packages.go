package doctor

import (
	"slices"
	"strings"
)

// needsEngine reports whether an engine has to be installed: none answers, the user chose no
// address, and there is no dockerd to start.
func (s State) needsEngine() bool {
	return s.Engine.Problem == Down && !s.Engine.Chosen && s.Engine.Dockerd == "" && s.OS == "linux"
}

// debian reports whether packages come from Debian, Ubuntu or a derivative. Only there does
// this program install packages itself.
func (s State) debian() bool { return s.Apt && s.Distro.is("debian", "ubuntu") }

// missing returns the packages to install, by Debian's names.
func (s State) missing(w Want) []string {
	var names []string
	add := func(when bool, name ...string) {
		if when {
			names = append(names, name...)
		}
	}
	if w.Engine && s.needsEngine() {
		// The engine's package only recommends iptables and the AppArmor parser, but
		// cannot start containers without them.
		add(true, "docker.io", "iptables")
		add(s.AppArmor, "apparmor")
		add(!s.Certificates, "ca-certificates")
	}
	add(w.Git && !s.Git, "git")
	add(w.Bootstrap && !s.Mmdebstrap && s.debian(), "mmdebstrap")
	return names
}

func (s State) packages(names []string, w Want) Step {
	engine := w.Engine && s.needsEngine()
	step := Step{ID: StepPackages, What: "install " + strings.Join(names, ", "), NeedsRoot: true}
	var why []string
	if engine {
		why = append(why, "no container engine is installed")
	}
	if slices.Contains(names, "git") {
		why = append(why, "git is not installed")
	}
	if slices.Contains(names, "mmdebstrap") {
		why = append(why, "mmdebstrap makes a base image without a registry")
	}
	step.Why = strings.Join(why, "; ")
	if !s.debian() {
		return s.foreignPackages(step, engine, slices.Contains(names, "git"))
	}
	act := installPackages{
		update: s.asRoot("apt-get", "update"),
		// Another apt may hold the lock for a while, for example after boot.
		install: s.asRoot(append([]string{
			"env", "DEBIAN_FRONTEND=noninteractive", "apt-get",
			"-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0", "install", "-y", "--no-install-recommends",
		}, names...)...),
	}
	step.Commands = []string{shellLine(act.update), shellLine(act.install)}
	if s.mayRoot() {
		step.action = act
	}
	return step
}

// foreign are the commands for other systems, where this program installs nothing itself.
var foreign = []struct {
	ids     []string
	engine  []string
	install string
}{
	{ids: []string{"fedora"}, install: "dnf install -y", engine: []string{"dnf install -y moby-engine", "systemctl enable --now docker"}},
	{ids: []string{"arch"}, install: "pacman -S --noconfirm", engine: []string{"pacman -S --noconfirm docker", "systemctl enable --now docker"}},
	{ids: []string{"alpine"}, install: "apk add", engine: []string{"apk add docker", "rc-update add docker default", "service docker start"}},
	{ids: []string{"suse", "opensuse"}, install: "zypper install -y", engine: []string{"zypper install -y docker", "systemctl enable --now docker"}},
}

func (s State) foreignPackages(step Step, engine, git bool) Step {
	var names []string
	if engine {
		names = append(names, "a container engine")
	}
	if git {
		names = append(names, "git")
	}
	step.What = "install " + strings.Join(names, " and ")
	for _, f := range foreign {
		if !s.Distro.is(f.ids...) {
			continue
		}
		var lines []string
		if engine {
			lines = append(lines, f.engine...)
		}
		if git {
			lines = append(lines, f.install+" git")
		}
		for _, l := range lines {
			step.Commands = append(step.Commands, shellLine(s.asRoot(strings.Fields(l)...)))
		}
		return step
	}
	if engine {
		step.What += " (see " + engineDocs + ")"
	}
	if s.OS == "darwin" && git {
		step.Commands, step.NeedsRoot = []string{"xcode-select --install"}, false
	}
	return step
}
