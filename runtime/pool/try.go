package pool

import (
	"path"

	"github.com/llorch/llorch-bk/runtime/engine"
)

// try is the operation that loads a model from outside alone, before anything is done for
// its server; none for a model that is known.
func (r run) try(spec engine.Spec) []Op {
	if r.wanted.Try == "" {
		return nil
	}
	name := spec.Labels[engine.LabelModel]
	if name == "" {
		name = path.Base(spec.Model.HostFile)
	}
	return []Op{{Do: Try, On: "model " + name + " alone in a container", Why: r.wanted.Try, Replica: r.id, Spec: &spec}}
}
