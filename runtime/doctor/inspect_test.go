package doctor

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/runtime/process"
)

func TestPIDFileOwners(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, pid, program, state, cmdline string
		file                               process.PIDFile
		stale                              bool
	}{
		{"dead", "12", "", "", "", daemonPID, true},
		{"alive", "12", "dockerd", "S", "dockerd", daemonPID, false},
		{"its number belongs to another program", "12", "bash", "S", "bash", daemonPID, true},
		{"dead, but nobody asked for its status", "12", "dockerd", "Z", "", daemonPID, true},
		{"not a number", "what", "", "", "", daemonPID, true},
		{"the engine's containerd", "12", "containerd", "S", "containerd\x00--config\x00/var/run/docker/containerd/containerd.toml", containerdPID, false},
		{"the machine's own containerd", "12", "containerd", "S", "/usr/bin/containerd", containerdPID, true},
		{"a name with parentheses", "12", "a (dockerd) b", "S", "", daemonPID, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := debian()
			m.file(tc.file.Path, tc.pid+"\n")
			if tc.program != "" {
				m.process(tc.pid, tc.program, tc.state, tc.cmdline)
			}
			got := stale(*m)
			if (len(got) == 1) != tc.stale {
				t.Errorf("stale are %v, want %v", got, tc.stale)
			}
		})
	}
}

func TestInspectGPU(t *testing.T) {
	t.Parallel()
	m := debian()
	m.running(modern)
	m.file("/sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n")
	m.file("/sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n")
	s := Inspect(t.Context(), *m)
	if diff := cmp.Diff(GPU{Hardware: true}, s.GPU); diff != "" {
		t.Errorf("a card without its driver (-want +got):\n%s", diff)
	}
	var ids []string
	for _, f := range Findings(s) {
		ids = append(ids, f.ID)
	}
	if diff := cmp.Diff([]string{FindingGPUDriver}, ids); diff != "" {
		t.Error(diff)
	}
	m.file("/proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC version:  gcc 12.2.0\n")
	m.info.Runtimes = []string{"nvidia", "runc"}
	s = Inspect(t.Context(), *m)
	if diff := cmp.Diff(GPU{Hardware: true, Driver: true, Version: "580.65.06", Configured: true}, s.GPU); diff != "" {
		t.Errorf("with its driver (-want +got):\n%s", diff)
	}
	if f := Findings(s); f != nil {
		t.Errorf("a machine in order has findings: %v", f)
	}
}

func TestFindingsHaveFourParts(t *testing.T) {
	t.Parallel()
	m := ubuntu()
	m.programs = []string{"apt-get"}
	m.file("/dev/nvidiactl", "")
	findings := Findings(Inspect(t.Context(), *m))
	if len(findings) != 4 {
		t.Errorf("%d findings: %+v", len(findings), findings)
	}
	for _, f := range findings {
		if f.What == "" || f.Why == "" || len(f.Do) == 0 || f.Severity == "" {
			t.Errorf("incomplete: %+v", f)
		}
	}
}
