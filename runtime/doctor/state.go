package doctor

import (
	"slices"
	"strconv"
	"strings"
)

// State is the machine as Inspect observed it.
type State struct {
	// OS is the operating system in Go's spelling.
	OS string
	// Distro is the Linux distribution; empty elsewhere.
	Distro Distro
	User   User
	// Terminal is true if a person can be asked.
	Terminal bool
	// Systemd is true if systemd runs here (sd_booted(3)).
	Systemd bool
	// Sudo is true if there is a sudo.
	Sudo bool
	// Apt is true if packages are installed with apt-get.
	Apt bool
	// Git, Mmdebstrap and Certificates are true if these are installed. Certificates is the
	// bundle of CA certificates.
	Git, Mmdebstrap, Certificates bool
	// AppArmor is true if the kernel enforces AppArmor but its parser is missing. An engine
	// cannot start containers then.
	AppArmor bool
	Engine   Engine
	GPU      GPU
}

// Distro is a Linux distribution, from os-release(5).
type Distro struct {
	ID      string
	Like    []string
	Version string
	Name    string
}

// is reports whether the distribution is one of these or derives from one.
func (d Distro) is(ids ...string) bool {
	return slices.ContainsFunc(ids, func(id string) bool { return d.ID == id || slices.Contains(d.Like, id) })
}

// User is the user of this process.
type User struct {
	Name string
	Root bool
	// Docker is true if this session has the group docker, and Listed if the group lists the
	// user. A user who is listed but does not have the group must log in again.
	Docker, Listed bool
}

// Problem says why an engine does not answer.
type Problem string

// The problems of an engine.
const (
	// None: it answers.
	None Problem = ""
	// Down: nothing listens on its socket.
	Down Problem = "down"
	// Denied: this user may not use its socket.
	Denied Problem = "denied"
	// Silent: something listens, but gives no valid answer.
	Silent Problem = "silent"
	// Unreachable: its address is on the network and does not answer.
	Unreachable Problem = "unreachable"
)

// Engine is the container engine that would be used.
type Engine struct {
	// Addr is its address, such as unix:///var/run/docker.sock.
	Addr string
	// Chosen is true if the user chose the address (DOCKER_HOST, a context).
	Chosen  bool
	Problem Problem
	// Err is the ping's error, unless Problem is None.
	Err error
	// Info is the engine's answer, if it answers.
	Info EngineInfo
	// Dockerd is the path of the engine's program on this machine; empty if it is not
	// installed.
	Dockerd string
	// PID is a running dockerd that owns the default pid file, else 0.
	PID int
	// Stale are pid files whose process has ended or is another program.
	Stale []string
	// Config is the content of daemon.json; nil if there is no such file.
	Config []byte
	// ConfigErr is set if daemon.json cannot be read or is not a JSON object.
	ConfigErr error
	// BuildKitOff is true if daemon.json disables BuildKit explicitly.
	BuildKitOff bool
}

// EngineInfo describes an engine, as reported by itself.
type EngineInfo struct {
	// Version is the engine's version, such as 20.10.24+dfsg1; API is the newest API version
	// that it supports, such as 1.41.
	Version, API string
	// OSType is linux or windows.
	OSType   string
	Rootless bool
	// Runtimes are the names of the engine's OCI runtimes.
	Runtimes []string
	// CDI are the devices that it found in CDI specifications.
	CDI []string
}

// local reports whether the engine reads the configuration files of this machine.
func (e Engine) local() bool {
	return strings.HasPrefix(e.Addr, unixScheme) && !e.Info.Rootless
}

// major is the first number of the engine's version; 0 if it is unknown.
func (e Engine) major() int {
	first, _, _ := strings.Cut(e.Info.Version, ".")
	n, _ := strconv.Atoi(first)
	return n
}

// tooOld reports whether the engine has no BuildKit. BuildKit came with 18.09, whose API is
// 1.39.
func (e Engine) tooOld() bool {
	major, minor, ok := strings.Cut(e.Info.API, ".")
	x, errX := strconv.Atoi(major)
	y, errY := strconv.Atoi(minor)
	return ok && errX == nil && errY == nil && (x < 1 || x == 1 && y < 39)
}

// GPU describes the NVIDIA GPUs and their software.
type GPU struct {
	// Hardware is true if a card is on the bus, and Driver if the kernel driver is loaded.
	Hardware, Driver bool
	// Version is the driver's version, if it is known.
	Version string
	// Toolkit is true if the container toolkit is installed.
	Toolkit bool
	// Configured is true if the engine can give GPUs to containers.
	Configured bool
}
