package pool

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/replica"
)

// Reconcile makes the plan that repairs a project's handoffs. It starts and stops nothing. It
// removes a handoff only on proof that its server ended or is not ready: handoffs of another
// engine and of a server that does not answer are kept.
func Reconcile(project string, seen Seen) Plan {
	p := Plan{Title: "handoffs of " + project}
	shown := map[replica.ID]bool{}
	for i := range seen.Servers {
		s := &seen.Servers[i]
		if s.Foreign || s.Standby || s.Project != project {
			continue
		}
		shown[s.Of()] = true
		p.Ops = append(p.Ops, reconcile(s, seen)...)
	}
	for i := range seen.Handoffs {
		h := &seen.Handoffs[i]
		id := replica.ID{Project: project, Pool: h.Pool, Replica: h.Replica}
		if h.Broken != "" || h.Container == "" || shown[id] {
			continue
		}
		switch seen.whose(*h) {
		case gone:
			p.Ops = append(p.Ops, withdraw(id, h, "its server is gone"))
		case elsewhere:
			p.Notes = append(p.Notes, id.HandoffFile()+" is kept: its server is on another engine"+at(h.EngineHost))
		case unknown:
			p.Notes = append(p.Notes, id.HandoffFile()+" is kept: it does not name its server's engine")
		}
	}
	return p
}

// reconcile returns the operations for one server's handoff.
func reconcile(s *engine.Server, seen Seen) []Op {
	file := seen.handoff(s.Of())
	if file != nil && file.Broken != "" {
		return nil
	}
	if health := seen.Health[s.ID]; s.State.Running && health == Ready {
		if file != nil && file.tells(*s) {
			return nil
		}
		return append(proveAgain(s), publish(file, seen, s))
	} else if file == nil || s.State.Running && health != Loading {
		return nil // nothing to remove, or the server may just be busy
	}
	switch whose := seen.whose(*file); {
	case whose == elsewhere || whose == unknown:
		return nil
	case whose == gone || file.Container != s.ID:
		return []Op{withdraw(s.Of(), file, "its server is gone")}
	case s.State.Running:
		return []Op{withdraw(s.Of(), file, "its server is loading")}
	}
	return []Op{withdraw(s.Of(), file, "its server is not running: "+state(s))}
}

// Meant selects replicas of a project.
type Meant struct {
	// Project is their project. All selects all its pools, Pools those with a name.
	Project string
	All     bool
	Pools   []string
}

func (m Meant) pool(name string) bool { return m.All || slices.Contains(m.Pools, name) }

// Halt makes the plan that stops pools. It removes handoffs first, so that no program binds an
// endpoint that is about to go away. If the engine does not answer, it removes only handoffs:
// the user wants nobody to bind those endpoints.
func Halt(m Meant, seen Seen) Plan {
	p := Plan{Title: "stop plan for " + m.String()}
	for i := range seen.Handoffs {
		h := &seen.Handoffs[i]
		id := replica.ID{Project: m.Project, Pool: h.Pool, Replica: h.Replica}
		if h.Broken != "" || h.Container == "" || !m.pool(h.Pool) {
			continue
		}
		switch whose := seen.whose(*h); {
		case seen.Unreachable:
			p.Ops = append(p.Ops, withdraw(id, h, "its pool is being stopped, and the engine does not answer"))
		case whose == here:
			p.Ops = append(p.Ops, withdraw(id, h, "its server is being stopped"))
		case whose == gone:
			p.Ops = append(p.Ops, withdraw(id, h, "its server is gone"))
		case whose == unknown:
			p.Ops = append(p.Ops, withdraw(id, h, "its pool is being stopped, and this engine does not have its server"))
		default:
			p.Notes = append(p.Notes, id.HandoffFile()+" is kept: its server is on another engine"+at(h.EngineHost))
		}
	}
	for i := range seen.Servers {
		s := &seen.Servers[i]
		if s.Foreign || s.Project != m.Project || !m.pool(s.Pool) {
			continue
		}
		p.Ops = append(p.Ops, Op{Do: Remove, On: "container " + s.Name, Why: "its pool is being stopped", Replica: s.Of(), Server: s})
		if !slices.Contains(p.Stopped, s.Of()) {
			p.Stopped = append(p.Stopped, s.Of())
		}
	}
	return p
}

// Break makes the plan that stops the server a run is waiting for, so that the run gives up
// and releases the replica. That run removes the handoff.
func Break(id replica.ID, seen Seen) Plan {
	p := Plan{Title: "break plan for pool " + id.String()}
	have := seen.servers(id)
	for _, s := range []*engine.Server{have.own, have.standby} {
		if s != nil && s.State.Running {
			p.Ops = append(p.Ops, Op{Do: Stop, On: "container " + s.Name, Why: "its pool is being stopped, and another run waits for it", Replica: id, Server: s})
		}
	}
	return p
}

// String names the pools for the user.
func (m Meant) String() string {
	if m.All {
		return "all pools"
	}
	out := "pool"
	for i, name := range m.Pools {
		if i > 0 {
			out += ","
		}
		out += " " + name
	}
	return out
}

// Replicas returns the replicas that a plan changes, sorted by name.
func (p Plan) Replicas() []replica.ID {
	var out []replica.ID
	for _, op := range p.Ops {
		if !slices.Contains(out, op.Replica) {
			out = append(out, op.Replica)
		}
	}
	slices.SortFunc(out, func(a, b replica.ID) int {
		return cmp.Or(strings.Compare(a.Pool, b.Pool), strings.Compare(a.Replica, b.Replica))
	})
	return out
}

// Only returns the part of a plan for one replica.
func (p Plan) Only(id replica.ID) Plan {
	p.Ops = slices.DeleteFunc(slices.Clone(p.Ops), func(op Op) bool { return op.Replica != id })
	p.Stopped = slices.DeleteFunc(slices.Clone(p.Stopped), func(s replica.ID) bool { return s != id })
	return p
}

func withdraw(id replica.ID, h *Handoff, why string) Op {
	return Op{Do: Withdraw, On: id.HandoffFile(), Why: why, Replica: id, Handoff: h}
}

// publish returns the operation that writes a server's handoff.
func publish(file *Handoff, seen Seen, s *engine.Server) Op {
	why := "the pool has no handoff"
	switch {
	case file == nil:
	case file.Container == s.ID:
		why = "it is stale: the server was restarted"
	case seen.whose(*file) == gone:
		why = "its server is gone"
	default:
		why = "it describes another server"
	}
	return Op{Do: Publish, On: "handoff " + s.Of().HandoffFile(), Why: why, Replica: s.Of(), Server: s}
}

// NoPool is the error for a pool that is not running.
func NoPool(name string) error {
	return fault.New(fault.Usage, "this project has no pool "+name, errors.New("the engine has no server for it"), "list the pools with llorch-bk ps")
}
