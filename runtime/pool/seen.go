package pool

import (
	"time"

	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/replica"
)

// Seen is the observed state that a plan is made from.
type Seen struct {
	// At is the time of the observation.
	At time.Time
	// Engine is the engine's own id, EngineHost its address if it is remote.
	Engine, EngineHost string
	// Unreachable is true if the engine did not answer: nothing is known about servers.
	Unreachable bool
	// CPUs is the number of cores of the engine's machine; 0 if unknown.
	CPUs int
	// Port is the user of the requested port, if a port was requested.
	Port engine.Holder
	// Servers are the engine's servers of the project, and containers with its replicas' names.
	Servers []engine.Server
	// Health is the health of running servers by id, if they were asked.
	Health map[string]Health
	// Handoffs are the files in the project's folder with the name of a handoff.
	Handoffs []Handoff
}

// Health is the answer of a running server.
type Health string

// The values of Health.
const (
	// Ready: it serves requests.
	Ready Health = "ready"
	// Loading: it loads its model.
	Loading Health = "loading"
	// Silent: it does not answer, or not like llama.cpp's server; it may be busy.
	Silent Health = "not answering"
)

// Handoff is an observed handoff file.
type Handoff struct {
	// Path is the file's path.
	Path string
	// Pool and Replica are the replica in the file's name.
	Pool, Replica string
	// Broken says why the file is not a handoff; empty if it is one.
	Broken string
	// Container is the id of its server; StartedAt is when that was started.
	Container string
	StartedAt time.Time
	// URL is its server's base URL.
	URL string
	// Engine and EngineHost are the id and the address of its server's engine. Handoffs before
	// 0.6 have no id.
	Engine, EngineHost string
	// Answers is true if a server answers at URL, if it was asked.
	Answers bool
}

func (h Handoff) of(id replica.ID) bool { return h.Pool == id.Pool && h.Replica == id.Replica }

// tells reports whether the handoff describes a server correctly.
func (h Handoff) tells(s engine.Server) bool {
	return h.Broken == "" && h.Container == s.ID && h.URL == s.URL && h.StartedAt.Equal(s.State.StartedAt.Truncate(time.Second))
}

// handoff returns the file with the name of a replica's handoff; nil if there is none.
func (s Seen) handoff(id replica.ID) *Handoff {
	for i := range s.Handoffs {
		if s.Handoffs[i].of(id) {
			return &s.Handoffs[i]
		}
	}
	return nil
}

// whose is what is known about a handoff's server.
type whose int

const (
	// here: the server was observed.
	here whose = iota
	// gone: the server was on this engine and no longer exists.
	gone
	// elsewhere: the server is on another engine, which cannot be observed from this one.
	elsewhere
	// unknown: the handoff names no engine, so it may be this one or another.
	unknown
)

// whose finds out what is known about a handoff's server. A server that was not observed is
// not gone: only its own engine knows that it ended.
func (s Seen) whose(h Handoff) whose {
	for _, server := range s.Servers {
		if server.ID == h.Container {
			return here
		}
	}
	switch {
	case s.Unreachable:
		return unknown
	case h.Engine != "" && s.Engine != "" && h.Engine == s.Engine:
		return gone
	case h.Engine != "" && s.Engine != "", h.EngineHost != s.EngineHost:
		return elsewhere
	}
	return unknown
}

// replicaServers are the servers of one replica: its own, its standby, and a foreign container
// with the name of either.
type replicaServers struct {
	own, standby, foreign *engine.Server
}

func (s Seen) servers(id replica.ID) replicaServers {
	var out replicaServers
	for i := range s.Servers {
		server := &s.Servers[i]
		switch {
		case server.Foreign && (server.Name == id.Name() || server.Name == id.StandbyName()):
			out.foreign = server
		case server.Foreign || server.Of() != id:
		case server.Standby:
			out.standby = server
		default:
			out.own = server
		}
	}
	return out
}

// startGrace is the time between a server's creation and its start. A server that was created
// longer ago and never started was left by a killed process.
const startGrace = 10 * time.Second

// beingStarted reports whether another process just created a server and is about to start
// it.
func (s Seen) beingStarted(server *engine.Server) bool {
	if server == nil || server.State.Status != "created" {
		return false
	}
	age := s.At.Sub(server.State.CreatedAt)
	return age < startGrace && age > -startGrace // the engine's clock may differ
}
