package doctor

import (
	"slices"
	"strconv"
	"strings"
)

// State is what Inspect saw.
type State struct {
	// OS is the operating system in Go's spelling.
	OS string
	// Distro is the Linux distribution; empty elsewhere.
	Distro Distro
	User   User
	// Terminal says that a person can be asked.
	Terminal bool
	// Systemd says that systemd runs here (sd_booted(3)).
	Systemd bool
	// Sudo says that there is a sudo.
	Sudo bool
	// Apt says that packages are installed with apt-get.
	Apt bool
	// Git, Mmdebstrap and Certificates say that these are installed; the last
	// is the bundle of certificate authorities.
	Git, Mmdebstrap, Certificates bool
	// AppArmor says that the kernel enforces AppArmor while its parser is
	// missing, without which an engine cannot start containers.
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

// is says whether the distribution is, or descends from, one of these.
func (d Distro) is(ids ...string) bool {
	return slices.ContainsFunc(ids, func(id string) bool { return d.ID == id || slices.Contains(d.Like, id) })
}

// User is who asks.
type User struct {
	Name string
	Root bool
	// Docker says that the group docker is among this session's groups, and
	// Listed that the group's members include the user: one who is listed but
	// not in it has to log in again.
	Docker, Listed bool
}

// Problem is why an engine does not answer.
type Problem string

// The problems of an engine.
const (
	// None: it answers.
	None Problem = ""
	// Down: nothing listens on its socket.
	Down Problem = "down"
	// Denied: this user may not use its socket.
	Denied Problem = "denied"
	// Silent: something listens, and gives no proper answer.
	Silent Problem = "silent"
	// Unreachable: its address is on the network and does not answer.
	Unreachable Problem = "unreachable"
)

// Engine is the container engine that would be used.
type Engine struct {
	// Addr is its address, such as unix:///var/run/docker.sock.
	Addr string
	// Chosen says that the address comes from the user (DOCKER_HOST, a
	// context) and is not just the default.
	Chosen  bool
	Problem Problem
	// Err is the ping's error where Problem is not None.
	Err error
	// Info is what the engine says of itself where it answers.
	Info EngineInfo
	// Dockerd is the path of the engine's program here; empty means that it
	// is not installed.
	Dockerd string
	// PID is a running dockerd that owns the default pid file, else 0.
	PID int
	// Stale are pid files whose process is gone or is another program.
	Stale []string
	// Config is daemon.json as it is; nil means that there is none.
	Config []byte
	// ConfigErr says that daemon.json cannot be read or is no JSON object.
	ConfigErr error
	// BuildKitOff says that daemon.json disables BuildKit in so many words.
	BuildKitOff bool
}

// EngineInfo is what an engine says of itself.
type EngineInfo struct {
	// Version is the engine's, such as 20.10.24+dfsg1; API is the newest API
	// version that it speaks, such as 1.41.
	Version, API string
	// OSType is linux or windows.
	OSType   string
	Rootless bool
	// Runtimes are the names of the OCI runtimes that it knows.
	Runtimes []string
	// CDI are the devices that it found by CDI specifications.
	CDI []string
}

// local says that the engine's daemon belongs to this machine's files.
func (e Engine) local() bool {
	return strings.HasPrefix(e.Addr, unixScheme) && !e.Info.Rootless
}

// major is the first number of the engine's version; 0 where it says none.
func (e Engine) major() int {
	first, _, _ := strings.Cut(e.Info.Version, ".")
	n, _ := strconv.Atoi(first)
	return n
}

// tooOld says that the engine has no BuildKit: it came with 18.09, whose API
// is 1.39.
func (e Engine) tooOld() bool {
	major, minor, ok := strings.Cut(e.Info.API, ".")
	x, errX := strconv.Atoi(major)
	y, errY := strconv.Atoi(minor)
	return ok && errX == nil && errY == nil && (x < 1 || x == 1 && y < 39)
}

// GPU is what there is of NVIDIA's.
type GPU struct {
	// Hardware says that a card is on the bus, and Driver that the kernel
	// driver is loaded.
	Hardware, Driver bool
	// Version is the driver's version, where it says one.
	Version string
	// Toolkit says that the container toolkit is installed.
	Toolkit bool
	// Configured says that the engine knows how to give GPUs to containers.
	Configured bool
}
