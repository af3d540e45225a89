package engine

import (
	"context"
	"errors"
	"io"
	"time"
)

// Engine runs servers. Its methods may be called from several goroutines and
// processes at a time; an engine keeps no state that it does not share with them.
// Errors that a person must act on are faults.
type Engine interface {
	Observer
	Prober
	Runner
	Follower
}

// Observer tells what is there, and changes nothing.
type Observer interface {
	// Facts is what the engine says of itself.
	Facts(ctx context.Context) (Facts, error)
	// Observe gives a project's servers, or those of all projects where it is
	// empty, running or not, in the order of their names; and also whatever has one
	// of names as its name or id.
	Observe(ctx context.Context, project string, names ...string) ([]Server, error)
	// PortHolder says who has a port of the engine's machine.
	PortHolder(ctx context.Context, listen string, port int) (Holder, error)
}

// Prober asks a Spec's server about its GPUs before a model is loaded.
type Prober interface {
	// Devices asks the server which devices it sees with the Spec's GPUs.
	Devices(ctx context.Context, s Spec) (Devices, error)
	// Linked gives the loader's lines about a library of the server: what it links
	// against, or the first thing that is missing. None where that cannot be told.
	Linked(ctx context.Context, s Spec, library string) []string
}

// Runner starts servers and ends them.
type Runner interface {
	// Prepare does and checks all that can be done for a Spec while another server
	// runs in its place. It leaves nothing that an error would have to undo.
	Prepare(ctx context.Context, s Spec) (Prepared, error)
	// Start starts a server that was stopped.
	Start(ctx context.Context, s Server) (Server, error)
	// Promote gives a standby server its replica's own name, which must be free. One
	// that has the name is no error.
	Promote(ctx context.Context, s Server) (Server, error)
	// Stop asks the server to end, and kills it after grace. It can be started again.
	Stop(ctx context.Context, s Server, grace time.Duration) error
	// Remove is Stop, and gives up the server's name. A server that is gone already
	// is no error.
	Remove(ctx context.Context, s Server, grace time.Duration) error
}

// Prepared is a server that can be made.
type Prepared interface {
	// Create makes the server without starting it, under its replica's name or as
	// its standby. That is the claim on the replica: a name that is taken is
	// ErrTaken. It leaves nothing where it fails.
	Create(ctx context.Context, standby bool) (Server, error)
	// Start starts what Create made. It returns once the server runs, though not yet
	// ready. Where a free port was taken meanwhile, it makes the server again on
	// another one. The server comes back with an error too: it may run.
	Start(ctx context.Context, s Server) (Server, error)
}

// Follower tells what a server does.
type Follower interface {
	// Logs writes the server's output and errors to w.
	Logs(ctx context.Context, s Server, w io.Writer, o LogOptions) error
	// Watch begins to observe a server until ctx ends.
	Watch(ctx context.Context, s Server) Watch
}

// Watch is a server under observation; package health waits on it.
type Watch interface {
	// URL is the server's base, without a final slash.
	URL() string
	// Exited yields one *Ended when the server's process has ended.
	Exited() <-chan error
	// LogLines yields the log's lines; some may be left out.
	LogLines() <-chan string
	// Same is nil when the very process that was started or found runs now.
	Same(ctx context.Context) error
	// Activity grows with the work that is done: 1000 is about a second of one
	// CPU core.
	Activity(ctx context.Context) (uint64, error)
	// LastLines are up to n last lines of the log, oldest first, fit for a terminal.
	LastLines(ctx context.Context, n int) []string
}

var (
	// ErrGone is a server that does not exist any more.
	ErrGone = errors.New("the container was removed")
	// ErrTaken is a name that another server has: somebody else acted first.
	ErrTaken = errors.New("another server has the name")
)

// Endpoint is an engine that was found.
type Endpoint struct {
	// Host is its address.
	Host string
	// Source says how it was found, in words: "DOCKER_HOST", "the context colima".
	Source string
	// Local is whether a port that it publishes on 127.0.0.1 is one of ours:
	// true for a socket in the file system and for TCP on the loopback.
	Local bool
}

// Facts is what an engine says of itself.
type Facts struct {
	// ID is the engine's own id, which no other engine has; empty where it has none.
	ID string `json:"id"`
	// Version is the engine's; API is the version spoken with it.
	Version string `json:"version"`
	API     string `json:"api"`
	// Name is the engine's host name, OS the system's name in words.
	Name string `json:"name"`
	OS   string `json:"os"`
	// Arch is the engine's machine as uname says it ("x86_64").
	Arch string `json:"arch"`
	// CPUs and Memory (in bytes) are what servers can have.
	CPUs   int   `json:"cpus"`
	Memory int64 `json:"memory"`
	// LogDriver is the default one for containers.
	LogDriver string `json:"log_driver"`
	// Init is the name of the engine's init binary; empty where it has none.
	Init string `json:"init"`
	// Rootless is whether the engine runs as an ordinary user.
	Rootless bool `json:"rootless"`
	// NVIDIA is whether the engine says that it can give servers NVIDIA's GPUs.
	// One that does not say so may still find a way when it is asked.
	NVIDIA bool `json:"nvidia"`
}

// Holder is who has a port.
type Holder struct {
	// Taken is false for a port that is free, or of which that cannot be told.
	Taken bool `json:"taken"`
	// Who has it, in words: "another program", or a container with its pool.
	Who string `json:"who,omitempty"`
	// Server is the id of the server of this engine that has it, if one has.
	Server string `json:"server,omitempty"`
}

// Devices is what a server says of the GPUs that it was given.
type Devices struct {
	// Lines are the server's own.
	Lines []string
	// Given is whether the engine says that it has such GPUs to give.
	Given bool
}

// LogOptions says which part of a log is wanted.
type LogOptions struct {
	// Follow goes on with what is logged from now on, until the server ends.
	Follow bool
	// Tail is how many of the last lines to begin with; 0 is all, negative none.
	Tail int
	// Since leaves out what is older; zero leaves out nothing.
	Since time.Time
}
