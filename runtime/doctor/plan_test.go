package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// outline writes a plan so that the table reads as the specification: the
// step, how it is done, and its commands.
func outline(steps []Step) []string {
	var lines []string
	for _, s := range steps {
		kind := "manual"
		if !s.Manual() {
			kind = strings.TrimPrefix(fmt.Sprintf("%T", s.action), "doctor.")
		}
		if s.Optional {
			kind += ", optional"
		}
		lines = append(lines, s.ID+" ("+kind+")")
		for _, c := range s.Commands {
			lines = append(lines, "  "+c)
		}
	}
	return lines
}

const aptInstall = "env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 install -y --no-install-recommends "

func TestPlan(t *testing.T) {
	t.Parallel()
	all := Want{Engine: true, Git: true}
	for _, tc := range []struct {
		name  string
		setup func() *machine
		want  Want
		plan  []string
	}{
		{
			name: "running", want: all, setup: func() *machine { m := debian(); m.running(modern); return m },
		},
		{
			name: "rootless and running", want: all, setup: func() *machine {
				m := ubuntu()
				m.platform.EngineAddr, m.platform.EngineChosen = "unix:///run/user/1000/docker.sock", true
				m.running(EngineInfo{Version: "28.0.0", API: "1.48", OSType: "linux", Rootless: true})
				return m
			},
		},
		{
			name: "bare Debian, root, no systemd", want: Want{Engine: true, Git: true, Bootstrap: true},
			setup: func() *machine {
				m := debian()
				m.programs = []string{"apt-get"}
				delete(m.files, "/etc/ssl/certs/ca-certificates.crt")
				m.file("/sys/module/apparmor/parameters/enabled", "Y\n")
				return m
			},
			plan: []string{
				"packages (installPackages)", "  apt-get update",
				"  " + aptInstall + "docker.io iptables apparmor ca-certificates git mmdebstrap",
				"engine-start (startEngine)", "  setsid dockerd </dev/null >>/var/log/llorch-dockerd.log 2>&1 &",
			},
		},
		{
			name: "Ubuntu, a user with sudo, systemd", want: all, setup: ubuntu,
			plan: []string{
				"packages (installPackages)", "  sudo apt-get update", "  sudo " + aptInstall + "docker.io iptables",
				"engine-start (runAndWait)", "  sudo systemctl enable --now docker",
				"docker-group (manual)", "  sudo usermod -aG docker ada", "  newgrp docker",
			},
		},
		{
			name: "Debian, a user without sudo", want: all,
			setup: func() *machine {
				m := debian()
				m.user("ada", 1000, 1000, 998)
				m.file("/etc/group", "docker:x:998:ada\n")
				return m
			},
			plan: []string{
				"packages (manual)", "  apt-get update", "  " + aptInstall + "docker.io iptables",
				"engine-start (manual)", "  setsid dockerd </dev/null >>/var/log/llorch-dockerd.log 2>&1 &",
			},
		},
		{
			name: "installed but stopped, a user with sudo, no systemd", want: all,
			setup: func() *machine { m := ubuntu(); m.with("dockerd"); delete(m.files, "/run/systemd/system"); return m },
			plan: []string{
				"engine-start (runAndWait)", "  sudo sh -c 'setsid /usr/bin/dockerd </dev/null >>/var/log/llorch-dockerd.log 2>&1 &'",
				"docker-group (manual)", "  sudo usermod -aG docker ada", "  newgrp docker",
			},
		},
		{
			name: "installed but stopped, systemd", want: all,
			setup: func() *machine { m := debian(); m.with("dockerd"); m.file("/run/systemd/system", ""); return m },
			plan:  []string{"engine-start (runAndWait)", "  systemctl enable --now docker"},
		},
		{
			name: "stopped with stale pid files", want: all,
			setup: func() *machine {
				m := debian()
				m.with("dockerd")
				m.file("/var/run/docker.pid", "77")
				m.file("/var/run/docker/containerd/containerd.pid", "78")
				m.process("77", "sh", "S", "sh")
				return m
			},
			plan: []string{
				"engine-start (startEngine)", "  rm -f /var/run/docker.pid /var/run/docker/containerd/containerd.pid",
				"  setsid /usr/bin/dockerd </dev/null >>/var/log/llorch-dockerd.log 2>&1 &",
			},
		},
		{
			name: "starting just now", want: all,
			setup: func() *machine {
				m := debian()
				m.with("dockerd")
				m.file("/var/run/docker.pid", "77\n")
				m.process("77", "dockerd", "S", "dockerd")
				return m
			},
			plan: []string{"engine-start (waitForEngine)"},
		},
		{
			name: "its configuration is broken", want: all,
			setup: func() *machine { m := debian(); m.with("dockerd"); m.file(daemonJSON, `{"debug": true,}`); return m },
			plan:  []string{"engine-config (manual)"},
		},
		{
			name: "the socket refuses", want: all,
			setup: func() *machine { m := ubuntu(); m.with("dockerd"); m.dial = fs.ErrPermission; return m },
			plan:  []string{"docker-group (manual)", "  sudo usermod -aG docker ada", "  newgrp docker"},
		},
		{
			name: "in the group, but logged in before", want: all,
			setup: func() *machine {
				m := ubuntu()
				m.file("/etc/group", "root:x:0:\ndocker:x:998:bob,ada\n")
				m.dial = fmt.Errorf("dial: %w", syscall.EACCES)
				return m
			},
			plan: []string{"docker-group (manual)", "  newgrp docker"},
		},
		{
			name: "DOCKER_HOST does not answer", want: all,
			setup: func() *machine {
				m := debian()
				m.platform.EngineAddr, m.platform.EngineChosen = "tcp://10.0.0.1:2376", true
				return m
			},
			plan: []string{"engine-address (manual)"},
		},
		{
			name: "rootless and stopped", want: all,
			setup: func() *machine {
				m := ubuntu()
				m.platform.EngineAddr, m.platform.EngineChosen = "unix:///run/user/1000/docker.sock", true
				return m
			},
			plan: []string{"engine-address (manual)", "  systemctl --user start docker"},
		},
		{
			name: "Fedora", want: all,
			setup: func() *machine { m := bare("ID=fedora\nVERSION_ID=41\n"); m.file("/run/systemd/system", ""); return m },
			plan: []string{
				"packages (manual)", "  dnf install -y moby-engine", "  systemctl enable --now docker", "  dnf install -y git",
			},
		},
		{
			name: "a distribution that we do not know", want: all,
			setup: func() *machine { m := bare("ID=nixos\n"); m.with("git"); return m },
			plan:  []string{"packages (manual)"},
		},
		{
			name: "macOS", want: all,
			setup: func() *machine {
				return &machine{
					platform: Platform{OS: "darwin", User: "ada", UID: 501, EngineAddr: defaultSocket},
					files:    map[string]string{}, programs: []string{"git"}, ping: errors.New("no"), dial: syscall.ENOENT,
				}
			},
			plan: []string{"engine (manual)", "  brew install colima docker", "  colima start"},
		},
		{
			name: "only git is missing", want: all,
			setup: func() *machine { m := debian(); m.programs = []string{"apt-get"}; m.running(old); return m },
			plan:  []string{"packages (installPackages)", "  apt-get update", "  " + aptInstall + "git"},
		},
		{
			name: "an engine from before BuildKit", want: all,
			setup: func() *machine {
				m := debian()
				m.running(EngineInfo{Version: "18.06.3", API: "1.38", OSType: "linux"})
				return m
			},
			plan: []string{"engine-version (manual)"},
		},
		{
			name: "BuildKit switched off", want: all,
			setup: func() *machine {
				m := debian()
				m.running(old)
				m.file(daemonJSON, `{"features":{"buildkit":false,"x":1},"data-root":"/d"}`)
				return m
			},
			plan: []string{
				"buildkit (changeConfig)",
				"  tee /etc/docker/daemon.json <<'EOF'\n{\n  \"data-root\": \"/d\",\n  \"features\": {\n    \"buildkit\": true,\n    \"x\": 1\n  }\n}\nEOF",
				"  sh -c 'kill -HUP $(cat /var/run/docker.pid)'",
			},
		},
		{
			name: "BuildKit switched off where nothing heeds it", want: all,
			setup: func() *machine {
				m := debian()
				m.running(modern)
				m.file(daemonJSON, `{"features":{"buildkit":false}}`)
				return m
			},
		},
		{
			name: "a GPU without the toolkit", want: all,
			setup: func() *machine {
				m := debian()
				m.running(modern)
				m.file("/dev/nvidiactl", "")
				m.file("/run/systemd/system", "")
				return m
			},
			plan: []string{
				"gpu-toolkit (manual, optional)", "  apt-get install -y nvidia-container-toolkit",
				"  nvidia-ctk runtime configure --runtime=docker", "  systemctl restart docker",
			},
		},
		{
			name: "a GPU, the toolkit not configured", want: all,
			setup: func() *machine {
				m := debian()
				m.running(modern)
				m.file("/dev/nvidiactl", "")
				m.with("nvidia-ctk")
				return m
			},
			plan: []string{"gpu-runtime (manual, optional)", "  nvidia-ctk runtime configure --runtime=docker", "  service docker restart"},
		},
		{
			name: "a GPU by CDI", want: all,
			setup: func() *machine {
				m := debian()
				info := modern
				info.CDI = []string{"nvidia.com/gpu=all"}
				m.running(info)
				m.file("/dev/nvidiactl", "")
				return m
			},
		},
		{name: "nothing wanted", setup: debian},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := Inspect(t.Context(), *tc.setup())
			if diff := cmp.Diff(tc.plan, outline(Plan(s, tc.want))); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
			for _, step := range Plan(s, tc.want) {
				if step.What == "" || step.Why == "" {
					t.Errorf("step %s says what %q, why %q", step.ID, step.What, step.Why)
				}
			}
		})
	}
}
