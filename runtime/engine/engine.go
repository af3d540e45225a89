package engine

import (
	"context"
	"errors"
	"io"
	"time"
)

// Engine runs servers. Several goroutines and processes may use it at the same time, and it
// has no state that it does not share with them. Errors that the user must act on are
// faults.
type Engine interface {
	Observer
	Prober
	Runner
	Follower
}

// Observer reads the engine's state and changes nothing.
type Observer interface {
	// Facts describes the engine.
	Facts(ctx context.Context) (Facts, error)
	// Observe returns a project's servers, running or not, sorted by name; an empty project
	// means all projects. It also returns everything whose name or id is in names.
	Observe(ctx context.Context, project string, names ...string) ([]Server, error)
	// PortHolder says who uses a port of the engine's machine.
	PortHolder(ctx context.Context, listen string, port int) (Holder, error)
}

// Prober checks what can be checked before a server serves: its GPUs, its flags and its model.
type Prober interface {
	// Devices lists the devices that the server finds with the Spec's GPUs.
	Devices(ctx context.Context, s Spec) (Devices, error)
	// Help returns the lines in which the server lists its flags.
	Help(ctx context.Context, s Spec) ([]string, error)
	// Linked returns the dynamic loader's lines about a library of the server: what it links
	// against, or the first missing library. It returns none if that is unknown.
	Linked(ctx context.Context, s Spec, library string) []string
	// Try loads the Spec's model in a server without a network or devices, which sees no
	// file of the host but the model. It returns nil once the model has loaded. If the server
	// refuses the model, crashes or exceeds limit, the error is a Model fault. If the server
	// cannot run at all, the error is ErrUntried.
	Try(ctx context.Context, s Spec, limit time.Duration) error
}

// Runner starts and stops servers.
type Runner interface {
	// Prepare checks and does everything for a Spec that is possible while another server
	// runs as its replica. An error leaves nothing to undo.
	Prepare(ctx context.Context, s Spec) (Prepared, error)
	// Start starts a stopped server.
	Start(ctx context.Context, s Server) (Server, error)
	// Promote renames a standby server to its replica's own name, which must be free. A
	// server that already has the name is no error.
	Promote(ctx context.Context, s Server) (Server, error)
	// Stop asks the server to end, and kills it after grace. The server can be started again.
	Stop(ctx context.Context, s Server, grace time.Duration) error
	// Remove is Stop, and frees the server's name. A server that no longer exists is no
	// error.
	Remove(ctx context.Context, s Server, grace time.Duration) error
}

// Prepared is a server that is ready to be created.
type Prepared interface {
	// Create creates the server without starting it, under its replica's name or as its
	// standby. The name is the claim on the replica; a name in use is ErrTaken. A failure
	// leaves nothing behind.
	Create(ctx context.Context, standby bool) (Server, error)
	// Start starts the created server. It returns when the server runs, which is before it is
	// ready. If another program took the chosen free port meanwhile, Start creates the server
	// again on another port. It also returns the server with an error, since it may run.
	Start(ctx context.Context, s Server) (Server, error)
}

// Follower follows a running server.
type Follower interface {
	// Logs writes the server's stdout and stderr to w.
	Logs(ctx context.Context, s Server, w io.Writer, o LogOptions) error
	// Watch observes a server until ctx ends.
	Watch(ctx context.Context, s Server) Watch
}

// Watch observes one server; package health waits on it.
type Watch interface {
	// URL is the server's base URL, without a trailing slash.
	URL() string
	// Exited receives one *Ended when the server's process has ended.
	Exited() <-chan error
	// LogLines receives the log's lines; some may be dropped.
	LogLines() <-chan string
	// Same returns nil if the process that was started or found still runs.
	Same(ctx context.Context) error
	// Activity grows with the work that the server does: 1000 is about one second of one CPU
	// core.
	Activity(ctx context.Context) (uint64, error)
	// LastLines returns up to n last lines of the log, oldest first, cleaned for a terminal.
	LastLines(ctx context.Context, n int) []string
}

var (
	// ErrGone is a server that no longer exists.
	ErrGone = errors.New("the container was removed")
	// ErrTaken is a name that another server has: another process was faster.
	ErrTaken = errors.New("another server has the name")
)

// Endpoint is the address of an engine that was found.
type Endpoint struct {
	// Host is its address.
	Host string
	// Source says how it was found: "DOCKER_HOST", "the context colima".
	Source string
	// Local is true if a port that the engine publishes on 127.0.0.1 is on this machine: for
	// sockets in the file system and TCP on the loopback address.
	Local bool
}

// Facts describes an engine, as reported by itself.
type Facts struct {
	// ID is the engine's own unique id; empty if it has none.
	ID string `json:"id"`
	// Version is the engine's version; API is the negotiated API version.
	Version string `json:"version"`
	API     string `json:"api"`
	// Name is the engine's host name; OS is its operating system.
	Name string `json:"name"`
	OS   string `json:"os"`
	// Arch is the machine's architecture as uname prints it ("x86_64").
	Arch string `json:"arch"`
	// CPUs and Memory (in bytes) are available to servers.
	CPUs   int   `json:"cpus"`
	Memory int64 `json:"memory"`
	// LogDriver is the default log driver of containers.
	LogDriver string `json:"log_driver"`
	// Init is the name of the engine's init binary; empty if it has none.
	Init string `json:"init"`
	// Rootless is true if the engine runs as an ordinary user.
	Rootless bool `json:"rootless"`
	// NVIDIA is true if the engine reports that it can give NVIDIA GPUs to servers. Other
	// engines may still find a way when they are asked to.
	NVIDIA bool `json:"nvidia"`
}

// Holder is the user of a port.
type Holder struct {
	// Taken is false for a free port, and if that is unknown.
	Taken bool `json:"taken"`
	// Who names the user: "another program", or a container with its pool.
	Who string `json:"who,omitempty"`
	// Server is the id of the engine's server that uses the port, if any.
	Server string `json:"server,omitempty"`
}

// Devices is what a server reports about the GPUs that it was given.
type Devices struct {
	// Lines are the server's output.
	Lines []string
	// Given is true if the engine reports that it has such GPUs.
	Given bool
}

// LogOptions select a part of a log.
type LogOptions struct {
	// Follow continues with new lines until the server ends.
	Follow bool
	// Tail is the number of last lines to begin with; 0 means all, negative none.
	Tail int
	// Since skips older lines; zero skips none.
	Since time.Time
}
