package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// System is what Inspect asks a machine. It changes nothing.
type System interface {
	// Platform is what the process knows without a lookup.
	Platform() Platform
	ReadFile(path string) ([]byte, error)
	Exists(path string) bool
	// Glob returns the matching paths, sorted.
	Glob(pattern string) []string
	// LookPath finds a program, also in the administrator's folders (sbin).
	LookPath(name string) (string, error)
	// Dial tries to connect to a unix socket.
	Dial(ctx context.Context, socket string) error
	// Ping asks the engine for its version and features.
	Ping(ctx context.Context) (EngineInfo, error)
}

// Platform is what the process knows about itself and its caller.
type Platform struct {
	// OS is the operating system in Go's spelling.
	OS string
	// User is the user's name; Groups are the ids of the session's groups.
	User     string
	UID      int
	Groups   []int
	Terminal bool
	// EngineAddr is the engine's address; EngineChosen is true if the user chose it.
	EngineAddr   string
	EngineChosen bool
}

// The paths that engines of Linux distributions use.
const (
	daemonJSON    = "/etc/docker/daemon.json"
	unixScheme    = "unix://"
	defaultSocket = unixScheme + "/var/run/docker.sock"
)

// Inspect observes a machine. What cannot be read counts as absent.
func Inspect(ctx context.Context, sys System) State {
	p := sys.Platform()
	has := func(name string) bool { _, err := sys.LookPath(name); return err == nil }
	s := State{
		OS: p.OS, Terminal: p.Terminal,
		Systemd: sys.Exists("/run/systemd/system"),
		Sudo:    has("sudo"), Apt: has("apt-get"), Git: has("git"), Mmdebstrap: has("mmdebstrap"),
		Certificates: sys.Exists("/etc/ssl/certs/ca-certificates.crt"),
	}
	if p.OS == "linux" {
		s.Distro = distro(sys)
		s.GPU = gpu(sys, has)
		enabled, _ := sys.ReadFile("/sys/module/apparmor/parameters/enabled")
		s.AppArmor = strings.HasPrefix(string(enabled), "Y") && !has("apparmor_parser")
	}
	s.User = whoAsks(sys, p)
	s.Engine = engine(ctx, sys, p)
	s.GPU.Configured = slices.Contains(s.Engine.Info.Runtimes, "nvidia") ||
		slices.ContainsFunc(s.Engine.Info.CDI, func(d string) bool { return strings.HasPrefix(d, "nvidia.com/gpu") })
	return s
}

func distro(sys System) Distro {
	raw, err := sys.ReadFile("/etc/os-release")
	if err != nil {
		raw, _ = sys.ReadFile("/usr/lib/os-release")
	}
	var d Distro
	for line := range strings.Lines(string(raw)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			d.ID = value
		case "ID_LIKE":
			d.Like = strings.Fields(value)
		case "VERSION_ID":
			d.Version = value
		case "PRETTY_NAME":
			d.Name = value
		}
	}
	return d
}

func whoAsks(sys System, p Platform) User {
	u := User{Name: p.User, Root: p.UID == 0}
	raw, _ := sys.ReadFile("/etc/group")
	for line := range strings.Lines(string(raw)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) == 4 && f[0] == "docker" {
			u.Listed = slices.Contains(strings.Split(f[3], ","), p.User)
			u.Docker = slices.ContainsFunc(p.Groups, func(id int) bool { return fmt.Sprint(id) == f[2] })
		}
	}
	return u
}

func engine(ctx context.Context, sys System, p Platform) Engine {
	e := Engine{Addr: p.EngineAddr, Chosen: p.EngineChosen}
	e.Info, e.Err = sys.Ping(ctx)
	if e.Err != nil {
		e.Problem = problem(ctx, sys, e.Addr)
	}
	if p.OS != "linux" {
		return e
	}
	e.Dockerd, _ = sys.LookPath("dockerd")
	e.Stale = stale(sys)
	if owner := daemonPID.Owner(sys); owner.Runs {
		e.PID = owner.PID
	}
	raw, err := sys.ReadFile(daemonJSON)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		// A user who may not read the file cannot fix it either.
		if e.Problem != Denied && !errors.Is(err, fs.ErrPermission) {
			e.ConfigErr = err
		}
	default:
		e.Config = raw
		var config map[string]any
		if config, e.ConfigErr = parseConfig(raw); e.ConfigErr == nil {
			features, _ := config["features"].(map[string]any)
			on, said := features["buildkit"].(bool)
			e.BuildKitOff = said && !on
		}
	}
	return e
}

// problem dials the socket itself: a client's error hides whether nothing listens or the
// user is refused.
func problem(ctx context.Context, sys System, addr string) Problem {
	socket, ok := strings.CutPrefix(addr, unixScheme)
	if !ok {
		return Unreachable
	}
	switch err := sys.Dial(ctx, socket); {
	case err == nil:
		return Silent
	case errors.Is(err, fs.ErrPermission):
		return Denied
	default:
		return Down
	}
}

var driverVersion = regexp.MustCompile(`\b\d{3,}\.\d+(\.\d+)?\b`)

func gpu(sys System, has func(string) bool) GPU {
	var g GPU
	raw, err := sys.ReadFile("/proc/driver/nvidia/version")
	// Under WSL, the Windows host has the driver; only its libraries show here.
	wsl := sys.Exists("/dev/dxg") && sys.Exists("/usr/lib/wsl/lib/libcuda.so.1")
	g.Driver = err == nil || sys.Exists("/dev/nvidiactl") || wsl
	g.Version = driverVersion.FindString(string(raw))
	g.Hardware = g.Driver
	for _, vendor := range sys.Glob("/sys/bus/pci/devices/*/vendor") {
		// PCI class 0x03 is a display controller, and 0x10de is NVIDIA.
		id, _ := sys.ReadFile(vendor)
		class, _ := sys.ReadFile(strings.TrimSuffix(vendor, "vendor") + "class")
		if strings.HasPrefix(string(id), "0x10de") && strings.HasPrefix(string(class), "0x03") {
			g.Hardware = true
		}
	}
	g.Toolkit = has("nvidia-ctk") || has("nvidia-container-runtime") || has("nvidia-container-runtime-hook")
	return g
}
