package pool

import (
	"time"

	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/replica"
)

// Seen is what was observed before a plan is made.
type Seen struct {
	// At is when.
	At time.Time
	// Engine is the engine's own id, EngineHost its address where it is remote.
	Engine, EngineHost string
	// Unreachable is an engine that did not answer: nothing is known of servers.
	Unreachable bool
	// CPUs is how many cores the engine's machine has, 0 where that is not known.
	CPUs int
	// Port is who has the port that is wanted, where one is.
	Port engine.Holder
	// Servers are the engine's, of the project and under the names of its replicas.
	Servers []engine.Server
	// Health is how far a running server is, by its id; only where it was asked.
	Health map[string]Health
	// Handoffs are the files of the project's folder that say they are handoffs.
	Handoffs []Handoff
}

// Health is what a running server answers.
type Health string

// The answers.
const (
	// Ready serves.
	Ready Health = "ready"
	// Loading is about to.
	Loading Health = "loading"
	// Silent does not answer, or not as llama.cpp's server does: it may be busy.
	Silent Health = "not answering"
)

// Handoff is a handoff file as it was seen.
type Handoff struct {
	// Path is the file's.
	Path string
	// Pool and Replica are whose handoff its name says it is.
	Pool, Replica string
	// Broken says why the file is no handoff of ours; empty where it is one.
	Broken string
	// Container is the id of the server that it tells of, StartedAt when that started.
	Container string
	StartedAt time.Time
	// URL is where that serves.
	URL string
	// Engine and EngineHost are the id and the address of the engine that it is on;
	// handoffs of before 0.6 have no id.
	Engine, EngineHost string
	// Answers is whether a server answers at URL; only where it was asked.
	Answers bool
}

func (h Handoff) of(id replica.ID) bool { return h.Pool == id.Pool && h.Replica == id.Replica }

// tells says whether the handoff tells the truth about a server.
func (h Handoff) tells(s engine.Server) bool {
	return h.Broken == "" && h.Container == s.ID && h.URL == s.URL && h.StartedAt.Equal(s.State.StartedAt.Truncate(time.Second))
}

// handoff is the file under the name of a replica's handoff, nil where there is none.
func (s Seen) handoff(id replica.ID) *Handoff {
	for i := range s.Handoffs {
		if s.Handoffs[i].of(id) {
			return &s.Handoffs[i]
		}
	}
	return nil
}

// whose says what is known of the server that a handoff tells of.
type whose int

const (
	// here is a server that was seen.
	here whose = iota
	// gone is a server of this engine that is not there any more.
	gone
	// elsewhere is a server of another engine, which cannot be seen from this one.
	elsewhere
	// unknown is a server of an engine without an id: this one, or another.
	unknown
)

// whose says what is known of a handoff's server. Not seen is not gone: only the
// engine that has a server can tell that it ended.
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

// replicaServers are the servers of one replica: its own, its standby, and what has
// the name of either without being one.
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

// startGrace is how long a server may take from its creation to its start. A
// server that was created longer ago and did not start is left from a process that
// was killed.
const startGrace = 10 * time.Second

// beingStarted says whether somebody created a server a moment ago and is about to
// start it.
func (s Seen) beingStarted(server *engine.Server) bool {
	if server == nil || server.State.Status != "created" {
		return false
	}
	age := s.At.Sub(server.State.CreatedAt)
	return age < startGrace && age > -startGrace // an engine's clock may be another one
}
