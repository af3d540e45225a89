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

// Reconcile is the plan that makes a project's handoffs tell the truth. It starts
// and stops nothing. A handoff goes only on proof that its server ended or is not
// ready: one of another engine stays, and one of a server that does not answer.
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
			p.Notes = append(p.Notes, id.HandoffFile()+" stays: it tells of a server on another engine"+at(h.EngineHost))
		case unknown:
			p.Notes = append(p.Notes, id.HandoffFile()+" stays: it does not say which engine its server is on")
		}
	}
	return p
}

// reconcile are the operations for the handoff of one server.
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
		return nil // nothing to remove, or a server that may just be busy
	}
	switch whose := seen.whose(*file); {
	case whose == elsewhere || whose == unknown:
		return nil
	case whose == gone || file.Container != s.ID:
		return []Op{withdraw(s.Of(), file, "its server is gone")}
	case s.State.Running:
		return []Op{withdraw(s.Of(), file, "its server is loading")}
	}
	return []Op{withdraw(s.Of(), file, "its server does not run: "+state(s))}
}

// Meant says which replicas a command is about.
type Meant struct {
	// Project is their project; All are all pools of it, Pools those with a name.
	Project string
	All     bool
	Pools   []string
}

func (m Meant) pool(name string) bool { return m.All || slices.Contains(m.Pools, name) }

// Halt is the plan that stops pools. Handoffs go first, so that nobody binds an
// endpoint that is going away. Without an engine that answers only they go: the
// user wants nobody to bind what they told of.
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
			p.Ops = append(p.Ops, withdraw(id, h, "its pool is to stop, and the engine does not answer"))
		case whose == here:
			p.Ops = append(p.Ops, withdraw(id, h, "its server is going to be stopped"))
		case whose == gone:
			p.Ops = append(p.Ops, withdraw(id, h, "its server is gone"))
		case whose == unknown:
			p.Ops = append(p.Ops, withdraw(id, h, "its pool is to stop, and this engine does not have its server"))
		default:
			p.Notes = append(p.Notes, id.HandoffFile()+" stays: it tells of a server on another engine"+at(h.EngineHost))
		}
	}
	for i := range seen.Servers {
		s := &seen.Servers[i]
		if s.Foreign || s.Project != m.Project || !m.pool(s.Pool) {
			continue
		}
		p.Ops = append(p.Ops, Op{Do: Remove, On: "container " + s.Name, Why: "its pool is to stop", Replica: s.Of(), Server: s})
		if !slices.Contains(p.Stopped, s.Of()) {
			p.Stopped = append(p.Stopped, s.Of())
		}
	}
	return p
}

// Break is the plan that ends what a run is waiting for, so that the run gives up and
// lets go of the replica. The handoff is that run's to remove.
func Break(id replica.ID, seen Seen) Plan {
	p := Plan{Title: "break plan for pool " + id.String()}
	have := seen.servers(id)
	for _, s := range []*engine.Server{have.own, have.standby} {
		if s != nil && s.State.Running {
			p.Ops = append(p.Ops, Op{Do: Stop, On: "container " + s.Name, Why: "its pool is to stop, and a run is at it", Replica: id, Server: s})
		}
	}
	return p
}

// String names the pools for a person.
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

// Replicas are those that a plan has operations for, in the order of their names.
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

// Only is the part of a plan that is about one replica.
func (p Plan) Only(id replica.ID) Plan {
	p.Ops = slices.DeleteFunc(slices.Clone(p.Ops), func(op Op) bool { return op.Replica != id })
	p.Stopped = slices.DeleteFunc(slices.Clone(p.Stopped), func(s replica.ID) bool { return s != id })
	return p
}

func withdraw(id replica.ID, h *Handoff, why string) Op {
	return Op{Do: Withdraw, On: id.HandoffFile(), Why: why, Replica: id, Handoff: h}
}

// publish is the operation that writes a server's handoff.
func publish(file *Handoff, seen Seen, s *engine.Server) Op {
	why := "there is none"
	switch {
	case file == nil:
	case file.Container == s.ID:
		why = "it is not true any more: the server was started again"
	case seen.whose(*file) == gone:
		why = "it tells of a server that is gone"
	default:
		why = "it tells of another server"
	}
	return Op{Do: Publish, On: "handoff " + s.Of().HandoffFile(), Why: why, Replica: s.Of(), Server: s}
}

// NoPool is the error for a pool that does not run.
func NoPool(name string) error {
	return fault.New(fault.Usage, "this project has no pool "+name, errors.New("the engine has no server of it"), "llorch-bk ps lists the pools")
}
