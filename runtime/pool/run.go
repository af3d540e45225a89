package pool

import (
	"errors"
	"fmt"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/replica"
)

// Wanted is the desired state of one replica.
type Wanted struct {
	// Spec is the desired server.
	Spec engine.Spec
	// CPU is the server without a GPU, for the case that the GPU cannot be used; nil if that
	// is not allowed.
	CPU *engine.Spec
	// Build says why the image has to be built first, and Fetch why the model has to be
	// downloaded; both are empty once that is done.
	Build, Fetch string
	// Try says why the model has to be tried alone in a container before it is served;
	// empty where that was done, or is not wanted.
	Try string
}

// Run makes the plan that brings a replica to its desired state. It stops a healthy server
// only after its replacement was created, and starts it again if the replacement does not
// become ready.
func Run(w Wanted, seen Seen) Plan {
	w.Spec = w.Spec.WithDefaults()
	r := run{seen: seen, wanted: w, id: w.Spec.Of()}
	r.have = seen.servers(r.id)
	r.file = seen.handoff(r.id)
	p := Plan{Title: "run plan for pool " + r.id.String()}
	if p.Refused = r.refusal(); p.Refused != nil {
		return p
	}
	if w.Build != "" {
		p.Ops = append(p.Ops, Op{Do: Build, On: "an image", Why: w.Build, Replica: r.id})
	}
	if w.Fetch != "" {
		p.Ops = append(p.Ops, Op{Do: Fetch, On: "the model", Why: w.Fetch, Replica: r.id})
	}
	p.Ops = append(p.Ops, r.settle(w.Spec, w.CPU)...)
	if p.Starts() {
		p.Notes = append(p.Notes, seenByServer(w.Spec)...)
	}
	return p
}

// seenByServer says where a server finds the files and folders that its flags name.
func seenByServer(s engine.Spec) []string {
	var out []string
	for _, f := range s.Files {
		out = append(out, "the server reads "+f.Host+" as "+f.Path)
	}
	for _, v := range s.Volumes {
		out = append(out, "files that the server writes to "+v.Path()+" are kept for the pool's next server")
	}
	return out
}

// run is a run plan in the making.
type run struct {
	wanted Wanted
	seen   Seen
	id     replica.ID
	have   replicaServers
	file   *Handoff
}

// refusal says why nothing can be started, before anything is changed.
func (r run) refusal() error {
	spec := r.wanted.Spec
	if f := r.have.foreign; f != nil {
		return fault.New(fault.Engine, "the name "+f.Name+" is taken", errors.New("a container of another program has it"),
			"rename that container: docker rename "+f.Name+" another-name")
	}
	if f := r.file; f != nil {
		if f.Broken != "" {
			return fault.New(fault.Usage, "the file "+f.Path+" is not this pool's handoff", errors.New(f.Broken), "remove it by hand if you do not need it")
		}
		if whose := r.seen.whose(*f); f.Answers && (whose == elsewhere || whose == unknown) {
			return fault.New(fault.Usage, "pool "+r.id.String()+" is served by another engine", fmt.Errorf("the handoff %s names a server at %s that answers, but this engine does not have it", f.Path, f.URL),
				"stop it on its own engine"+at(f.EngineHost)+", or choose another `pool`")
		}
	}
	if r.seen.CPUs > 0 && spec.CPUs > float64(r.seen.CPUs) {
		return fault.New(fault.Usage, fmt.Sprintf("`cpus` must be at most %d, got %v", r.seen.CPUs, spec.CPUs), fmt.Errorf("the engine's machine has %d cores", r.seen.CPUs), "lower `cpus`, or remove it to use all cores")
	}
	if h := r.seen.Port; spec.Port != 0 && h.Taken && !r.ours(h.Server) {
		return engine.PortInUse(spec.Listen, spec.Port, fmt.Errorf("%s uses it", h.Who))
	}
	return nil
}

func at(host string) string {
	if host == "" {
		return ""
	}
	return " at " + host
}

// ours reports whether a server belongs to this replica, so that its port will be free.
func (r run) ours(id string) bool {
	return id != "" && (r.have.own != nil && r.have.own.ID == id || r.have.standby != nil && r.have.standby.ID == id)
}

// runs reports whether a server is running and matches the spec.
func (r run) runs(s *engine.Server, spec engine.Spec) bool {
	return s != nil && s.State.Running && s.RunDigest == spec.RunDigest() && r.wanted.Build == "" && r.wanted.Fetch == ""
}

// settle returns the operations for a spec, with cpu as its fallback.
func (r run) settle(spec engine.Spec, cpu *engine.Spec) []Op {
	own, standby := r.have.own, r.have.standby
	switch {
	case r.seen.beingStarted(standby):
		return []Op{r.await(standby)}
	case r.seen.beingStarted(own):
		return []Op{r.await(own)}
	case r.runs(standby, spec):
		return r.takeOver(standby, spec)
	case standby != nil && own == nil:
		// A run was killed between stopping the old server and renaming the new one.
		named := r
		renamed := *standby
		renamed.Name, renamed.Standby = r.id.Name(), false
		named.have = replicaServers{own: &renamed}
		op := Op{Do: Promote, On: "container " + standby.Name, Why: "a killed run left it without its name", Replica: r.id, Server: standby}
		return append([]Op{op}, named.settle(spec, cpu)...)
	case standby != nil:
		alone := r
		alone.have.standby = nil
		op := Op{Do: Remove, On: "container " + standby.Name, Why: "a killed run left it", Replica: r.id, Server: standby}
		return append([]Op{op}, alone.settle(spec, cpu)...)
	case r.runs(own, spec):
		return r.join(own, spec)
	}
	return r.start(spec, cpu)
}

func (r run) await(s *engine.Server) Op {
	return Op{Do: Await, On: "container " + s.Name, Why: "it was created a moment ago", Replica: r.id, Server: s}
}

// join returns the operations for a running server that matches the spec.
func (r run) join(s *engine.Server, spec engine.Spec) []Op {
	wait := r.wait(s, "it already runs this server")
	wait.Clean = &Branch{When: Ended, Ops: append(r.withdraw(s, "its server ended"), r.remove(s, "it ended"))}
	if r.file != nil && r.file.tells(*s) {
		return []Op{wait}
	}
	ops := append([]Op{wait}, r.proof(s, spec, nil)...)
	return append(ops, r.publish(s))
}

// takeOver returns the operations for a replacement that another process started.
func (r run) takeOver(s *engine.Server, spec engine.Spec) []Op {
	ops := append([]Op{r.wait(s, "it already runs this server and replaces the old one")}, r.proof(s, spec, nil)...)
	if r.have.own != nil {
		ops = append(ops, r.withdraw(r.have.own, "its server is replaced")...)
		ops = append(ops, Op{Do: Remove, On: "container " + r.have.own.Name, Why: "it is replaced", Replica: r.id, Server: r.have.own, Final: true})
	}
	ops = append(ops, Op{Do: Promote, On: "container " + s.Name, Why: "it replaces the old server", Replica: r.id, Server: s})
	return append(ops, Op{Do: Publish, On: r.handoffName(), Why: "its server is ready", Replica: r.id})
}

// start returns the operations that start a new server.
func (r run) start(spec engine.Spec, cpu *engine.Spec) []Op {
	own := r.have.own
	if own != nil && spec.Port == 0 {
		spec.PreferPort = own.Port
	}
	why := r.why(spec)
	var ops []Op
	if spec.GPUs != "" {
		probe := Op{Do: Probe, On: imageName(spec), Why: "the server must use " + gpus(spec), Replica: r.id, Spec: &spec}
		if cpu != nil {
			probe.Instead = &Branch{When: NoGPU, Ops: r.settle(cpu.WithDefaults(), nil)}
		}
		ops = append(ops, probe)
	}
	ops = append(ops, r.try(spec)...)
	ops = append(ops, Op{Do: Prepare, On: imageName(spec), Why: why, Replica: r.id, Spec: &spec})
	running := own != nil && own.State.Running
	if own != nil && !running {
		ops = append(ops, r.withdraw(own, "its server is not running")...)
		ops = append(ops, r.remove(own, state(own)))
	}
	ops = append(ops, r.create(spec, running, why))
	if own == nil {
		ops = append(ops, r.withdrawStale()...)
	}
	if running {
		ops = append(ops, r.giveWay(own, why)...)
	}
	ops = append(ops, r.launch(), r.wait(nil, "it was just started"))
	ops = append(ops, r.proof(nil, spec, cpu)...)
	return append(ops, r.finish(running)...)
}

// failedGrace is how long a server that serves nobody may take to end.
const failedGrace = time.Second

// create claims the replica.
func (r run) create(spec engine.Spec, standby bool, why string) Op {
	name := r.id.Name()
	if standby {
		name = r.id.StandbyName()
	}
	return Op{
		Do: Create, On: "container " + name, Why: why, Replica: r.id, Spec: &spec, Standby: standby,
		Undo: []Op{{Do: Remove, On: "container " + name, Why: "it did not become ready", Replica: r.id, Grace: failedGrace}},
	}
}

// giveWay stops a running server after its replacement was created.
func (r run) giveWay(own *engine.Server, why string) []Op {
	ops := r.withdraw(own, "its server is being stopped")
	for i := range ops {
		ops[i].Undo = append(proveAgain(own), Op{Do: Publish, On: r.handoffName(), Why: "its server runs again", Replica: r.id, Server: own})
	}
	ops = append([]Op{{Do: Confirm, On: "container " + own.Name, Why: "another process may have replaced it", Replica: r.id, Server: own}}, ops...)
	return append(ops, Op{
		Do: Stop, On: "container " + own.Name, Why: why, Replica: r.id, Server: own,
		Undo: []Op{
			{Do: Start, On: "container " + own.Name, Why: "its replacement did not become ready", Replica: r.id, Server: own},
			r.wait(own, "it was started again"),
		},
	})
}

func (r run) launch() Op {
	return Op{
		Do: Start, On: "the new server", Why: "it was created", Replica: r.id,
		// Remove it first, since the old server needs its port and memory back.
		Undo: []Op{{Do: Remove, On: "the new server", Why: "it did not become ready", Replica: r.id, Grace: failedGrace}},
	}
}

func (r run) wait(s *engine.Server, why string) Op {
	return Op{Do: Wait, On: serverName(s), Why: why, Replica: r.id, Server: s}
}

func (r run) remove(s *engine.Server, why string) Op {
	return Op{Do: Remove, On: "container " + s.Name, Why: why, Replica: r.id, Server: s}
}

// finish returns the operations after a server became ready.
func (r run) finish(replaces bool) []Op {
	var ops []Op
	if replaces {
		ops = append(ops, Op{Do: Remove, On: "container " + r.have.own.Name, Why: "it is replaced", Replica: r.id, Server: r.have.own, Final: true},
			Op{Do: Promote, On: "the new server", Why: "it replaces the old server", Replica: r.id})
	}
	return append(ops, Op{Do: Publish, On: r.handoffName(), Why: "its server is ready", Replica: r.id})
}

// publish returns the operation that writes a running server's handoff.
func (r run) publish(s *engine.Server) Op {
	return publish(r.file, r.seen, s)
}

// withdraw removes the handoff if it describes the server.
func (r run) withdraw(s *engine.Server, why string) []Op {
	if r.file == nil || r.file.Container != s.ID {
		return r.withdrawStale()
	}
	return []Op{withdraw(r.id, r.file, why)}
}

// withdrawStale removes a handoff that describes no server of this replica.
func (r run) withdrawStale() []Op {
	if r.file == nil {
		return nil
	}
	why := "its server is gone"
	switch whose := r.seen.whose(*r.file); {
	case r.file.Container == "":
		why = "it names no container"
	case whose == here:
		why = "it describes another replica's server"
	case whose == elsewhere:
		why = "its server is on another engine and does not answer"
	case whose == unknown:
		why = "its engine is unknown, and its server does not answer"
	}
	return []Op{withdraw(r.id, r.file, why)}
}

func (r run) handoffName() string { return "handoff " + r.id.HandoffFile() }
