package pool

import "github.com/llorch/llorch-bk/runtime/engine"

// proof is the operation that proves that a server uses its GPU; none for a server without
// one. If it fails and cpu is set, a server on the CPU takes its place.
func (r run) proof(s *engine.Server, spec engine.Spec, cpu *engine.Spec) []Op {
	if spec.GPUs == "" {
		return nil
	}
	op := Op{Do: Prove, On: serverName(s), Why: "it must use " + gpus(spec), Replica: r.id, Server: s}
	if cpu != nil {
		op.Instead = &Branch{When: NoGPU, Ops: r.onCPU(cpu.WithDefaults())}
	}
	return []Op{op}
}

// proveAgain proves the GPU of a server that was started again, for its handoff.
func proveAgain(s *engine.Server) []Op {
	if s.Labels[engine.LabelDeviceMask] == "" {
		return nil
	}
	return []Op{{Do: Prove, On: "container " + s.Name, Why: "it must use its GPUs", Replica: s.Of(), Server: s}}
}

// onCPU are the operations after a failed GPU proof: the same server on the CPU.
func (r run) onCPU(cpu engine.Spec) []Op {
	own := r.have.own
	if own != nil && cpu.Port == 0 {
		cpu.PreferPort = own.Port
	}
	running := own != nil && own.State.Running
	why := "the GPU cannot be used"
	return append([]Op{
		{Do: Remove, On: "the new server", Why: "it does not use its GPU", Replica: r.id, Grace: failedGrace},
		{Do: Prepare, On: imageName(cpu), Why: why, Replica: r.id, Spec: &cpu},
		r.create(cpu, running, why),
		r.launch(), r.wait(nil, "it was just started"),
	}, r.finish(running)...)
}
