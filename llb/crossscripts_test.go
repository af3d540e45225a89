package llb

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// crossTools is a PATH on which binutils have names for another machine, as Debian's
// cross binutils do. They read every machine's headers.
func crossTools(t *testing.T) (triple, path string) {
	t.Helper()
	onLinux(t, "readelf", "objdump")
	dir := t.TempDir()
	for _, tool := range []string{"readelf", "objdump"} {
		found, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(found, filepath.Join(dir, "aarch64-linux-gnu-"+tool)); err != nil {
			t.Fatal(err)
		}
	}
	return "aarch64-linux-gnu", dir + ":" + os.Getenv("PATH")
}

// header is a program's for a machine, with nothing behind it.
func header(machine uint16) []byte {
	h := make([]byte, 64)
	copy(h, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(h[16:], 2)
	binary.LittleEndian.PutUint16(h[18:], machine)
	binary.LittleEndian.PutUint32(h[20:], 1)
	binary.LittleEndian.PutUint16(h[52:], 64)
	return h
}

// An image that is cross-compiled has code of its own machine and of no other, whatever
// compiler a user's flag names.
func TestCheckTellsAnotherMachine(t *testing.T) {
	t.Parallel()
	triple, path := crossTools(t)
	const x86, arm = 62, 183
	for name, c := range map[string]struct {
		cross  string
		server uint16
		says   string
	}{
		"its own":               {triple, arm, ""},
		"the builder's":         {triple, x86, "llorch-bk: llama-server is for Advanced Micro Devices X86-64, and the image is for AArch64"},
		"nothing to be told of": {"", x86, ""},
	} {
		image := t.TempDir()
		if err := os.Mkdir(filepath.Join(image, "app"), 0o755); err != nil {
			t.Fatal(err)
		}
		for file, data := range map[string][]byte{"llorch-probe": header(arm), "llama-server": header(c.server), "readme.txt": []byte("no program\n")} {
			if err := os.WriteFile(filepath.Join(image, "app", file), data, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		said, err := shell(t, checkScript, map[string]string{"/image": image}, []string{"PATH=" + path, "CROSS=" + c.cross})
		if (err != nil) != (c.says != "") || strings.TrimSpace(said) != c.says {
			t.Errorf("%s: %v: %q, want %q", name, err, said, c.says)
		}
	}
}

// Clang is one compiler for every machine, and is told which.
func TestLaunchTellsClangTheTarget(t *testing.T) {
	t.Parallel()
	l := newLauncher(t, "", "")
	l.env = append(l.env, "CROSS=aarch64-linux-gnu")
	for command, want := range map[string]string{
		"/usr/bin/aarch64-linux-gnu-gcc -c /src/ggml/a.c":            "clang -c /src/ggml/a.c --target=aarch64-linux-gnu -O2 -fno-openmp",
		"/usr/bin/aarch64-linux-gnu-g++ -c /src/ggml/arch/arm/a.cpp": "/usr/bin/aarch64-linux-gnu-g++ -c /src/ggml/arch/arm/a.cpp",
	} {
		said, ran, _, err := l.run(command)
		if err != nil || strings.TrimSpace(ran) != want {
			t.Errorf("%s: %v: %q; it ran\n%s, want\n%s", command, err, said, ran, want)
		}
	}
}
