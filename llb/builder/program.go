package builder

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/llorch/llorch-bk/images/fault"
)

const (
	// module is BuildKit's module, from which a daemon is compiled.
	module = "github.com/moby/buildkit"
	// compileLines is the number of the compiler's last lines that an error shows.
	compileLines = 20

	noProgram = "no buildkitd was found"
)

// Locate returns the file of BuildKit's daemon. It looks for the program that was
// named, beside this program, in PATH, for one that was compiled before, and in the
// bundles of this machine. Otherwise it compiles the version that go.mod pins.
func (m Manager) Locate(ctx context.Context) (string, error) {
	if m.Program != "" {
		return m.Program, nil
	}
	own := filepath.Join(m.bins(), "buildkitd")
	if path := installed(own); path != "" {
		return path, nil
	}
	if ok, err := m.unbundle(own); ok || err != nil {
		return own, err
	}
	if m.Offline {
		return "", fault.New(fault.Machine, noProgram, errors.New("it is neither beside llorch-bk, in PATH nor in the bundles that were loaded here"),
			"load a bundle that has one: llorch-bk bundle create says whether it does")
	}
	const do = "install one (make buildkitd does), or " + nameAnother
	version := buildkitVersion()
	goTool, err := exec.LookPath("go")
	if err != nil || version == "" {
		return "", fault.New(fault.Machine, noProgram, errors.New("it is neither beside llorch-bk nor in PATH, and there is no Go to compile it with"), do)
	}
	m.notice("compile buildkitd " + version + ", once, which takes a minute or two")
	if lines, err := compile(ctx, goTool, version, own); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", fault.New(fault.Machine, "buildkitd does not compile", err, do).WithLines(lines)
	}
	return own, nil
}

// installed returns a buildkitd that can be executed: beside this program, in PATH, or
// own; empty if there is none.
func installed(own string) string {
	var places []string
	if self, err := os.Executable(); err == nil {
		places = append(places, filepath.Join(filepath.Dir(self), "buildkitd"))
	}
	if found, err := exec.LookPath("buildkitd"); err == nil {
		places = append(places, found)
	}
	for _, p := range append(places, own) {
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return p
		}
	}
	return ""
}

// unbundle writes a buildkitd out of the bundles of this machine to a file. ok is false
// if they have none.
func (m Manager) unbundle(own string) (ok bool, err error) {
	if m.Bundled == nil {
		return false, nil
	}
	data, err := m.Bundled()
	if err != nil || len(data) == 0 {
		return false, err
	}
	m.notice("take buildkitd out of a bundle")
	return true, errors.Join(os.MkdirAll(filepath.Dir(own), 0o700), renameio.WriteFile(own, data, 0o700))
}

// compile compiles buildkitd into the file out, which is written whole or not at all.
// On failure it returns the compiler's last lines. It makes a module of its own,
// because "go install" refuses a module whose go.mod excludes others, as BuildKit's does.
func compile(ctx context.Context, goTool, version, out string) ([]string, error) {
	dir, err := os.MkdirTemp("", "llorch-buildkitd-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := errors.Join(
		os.MkdirAll(filepath.Dir(out), 0o700),
		os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module buildkitd\n\ngo 1.21\n\nrequire "+module+" "+version+"\n"), 0o600),
	); err != nil {
		return nil, err
	}
	made := filepath.Join(dir, "buildkitd")
	cmd := exec.CommandContext(ctx, goTool, "build", "-trimpath", "-o", made, module+"/cmd/buildkitd")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "GOOS=", "GOARCH=", "CGO_ENABLED=0")
	cmd.WaitDelay = time.Second
	if said, err := cmd.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(said)), "\n")
		return lines[max(0, len(lines)-compileLines):], err
	}
	// A rename would not do: the folder for temporary files can be on another disk.
	data, err := os.ReadFile(made)
	if err != nil {
		return nil, err
	}
	return nil, renameio.WriteFile(out, data, 0o700)
}

// buildkitVersion returns the version of BuildKit's module that this program was
// compiled with; empty if it was compiled without modules.
func buildkitVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == module {
				return d.Version
			}
		}
	}
	return ""
}
