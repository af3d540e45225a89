package e2e

import (
	"debug/elf"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// foreign is the other one of the two architectures that images are built for; machines are
// their names in ELF and in qemu's programs.
var (
	foreign  = map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	machines = map[string]struct {
		elf  elf.Machine
		qemu string
	}{"amd64": {elf.EM_X86_64, "qemu-x86_64"}, "arm64": {elf.EM_AARCH64, "qemu-aarch64"}}
)

// unpacked is an image's file system in a folder.
func unpacked(t *testing.T, img v1.Image) string {
	t.Helper()
	root := t.TempDir()
	files := mutate.Extract(img)
	defer files.Close()
	tar := exec.Command("tar", "-x", "-C", root)
	tar.Stdin = files
	if out, err := tar.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return root
}

// ofMachine checks that everything in an image's /app is for one architecture, and that the
// image has all needed libraries for it.
func ofMachine(t *testing.T, root, arch string) {
	t.Helper()
	want := machines[arch].elf
	programs, err := filepath.Glob(filepath.Join(root, "app", "*"))
	if err != nil || len(programs) == 0 {
		t.Fatalf("nothing in /app (%v)", err)
	}
	found := 0
	for _, path := range programs {
		f, err := elf.Open(path)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		defer f.Close()
		if found++; f.Machine != want {
			t.Errorf("%s is for %s, want %s", filepath.Base(path), f.Machine, want)
		}
		needs, err := f.ImportedLibraries()
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, name := range needs {
			if !hasLibrary(t, root, name, want) {
				t.Errorf("%s needs %s, and the image has none for %s", filepath.Base(path), name, want)
			}
		}
	}
	if !slices.ContainsFunc(programs, func(p string) bool { return filepath.Base(p) == "llama-server" }) || found < 3 {
		t.Errorf("/app has %q", programs)
	}
}

func hasLibrary(t *testing.T, root, name string, machine elf.Machine) bool {
	t.Helper()
	for _, dir := range []string{"app", "usr/lib", "usr/lib/*-linux-gnu", "usr/lib64"} {
		places, err := filepath.Glob(filepath.Join(root, dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, place := range places {
			if f, err := elf.Open(place); err == nil {
				f.Close()
				if f.Machine == machine {
					return true
				}
			}
		}
	}
	return false
}

// emulated runs a program of an image for another architecture and returns its output. It
// tests the cross compiler's result; the build itself is not emulated.
func emulated(t *testing.T, arch, root string, args ...string) string {
	t.Helper()
	args[0] = filepath.Join(root, args[0])
	cmd := exec.Command(qemu(t, arch), append([]string{"-L", root}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// qemu is the emulator: this machine's, or else the one in Debian's package, which is
// downloaded and not installed.
func qemu(t *testing.T, arch string) string {
	t.Helper()
	name := machines[arch].qemu
	for _, n := range []string{name + "-static", name} {
		if path, err := exec.LookPath(n); err == nil {
			return path
		}
	}
	dir := t.TempDir()
	// One of them has static programs: until Debian 12 the former, since then the latter.
	for _, pkg := range []string{"qemu-user-static", "qemu-user"} {
		get := exec.Command("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", pkg)
		get.Dir = dir
		if out, err := get.CombinedOutput(); err != nil {
			t.Logf("%s: %v: %s", pkg, err, out)
			continue
		}
		debs, _ := filepath.Glob(filepath.Join(dir, pkg+"_*.deb"))
		for _, deb := range debs {
			if out, err := exec.Command("dpkg-deb", "-x", deb, dir).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		for _, n := range []string{name + "-static", name} {
			path := filepath.Join(dir, "usr", "bin", n)
			if f, err := elf.Open(path); err == nil {
				libraries, _ := f.ImportedLibraries()
				f.Close()
				if len(libraries) == 0 {
					return path
				}
			}
		}
	}
	t.Skip("there is no " + name + " to check with: apt-get install qemu-user-static")
	return ""
}

// bare is a project without an engine: it uses only the builder.
func (p *project) bare(t *testing.T) *project {
	without := *p
	without.t, without.env = t, append(slices.Clone(p.env), "DOCKER_HOST=unix:///nonexistent/docker.sock")
	return &without
}
