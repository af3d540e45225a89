package llb

import (
	bkllb "github.com/moby/buildkit/client/llb"
	"github.com/opencontainers/go-digest"
)

// StepKind is the purpose of a vertex in a graph.
type StepKind string

// The kinds of steps that builds report about.
const (
	StepToolchain StepKind = "toolchain"
	StepUI        StepKind = "ui"
	StepCompile   StepKind = "compile"
	StepCheck     StepKind = "check"
)

// Step identifies a vertex: its kind, and the part of the plan that it compiles.
type Step struct {
	Kind StepKind `json:"kind,omitempty"`
	Part string   `json:"part,omitempty"`
	// Platform is the platform of the step's image, if it is not the builder's own.
	Platform string `json:"platform,omitempty"`
}

// The keys of a step's description in a graph. BuildKit passes descriptions on; they are
// in no cache key.
const (
	describesKind = "dev.llorch.step"
	describesPart = "dev.llorch.part"
	describesFor  = "dev.llorch.platform"
)

// named gives a vertex its name for people and its description for programs.
func (b builder) named(kind StepKind, part, title string) bkllb.RunOption {
	about := map[string]string{describesKind: string(kind), describesPart: part}
	if b.plan.Cross != nil {
		about[describesFor] = b.plan.Platform
	}
	return describedRun{bkllb.WithCustomName(title), bkllb.WithDescription(about)}
}

type describedRun []bkllb.ConstraintsOpt

func (d describedRun) SetRunOption(ei *bkllb.ExecInfo) {
	for _, opt := range d {
		opt.SetRunOption(ei)
	}
}

// Steps maps the digests of a definition's vertices to the steps that they are.
func Steps(def *bkllb.Definition) map[digest.Digest]Step {
	out := map[digest.Digest]Step{}
	for id, meta := range def.Metadata {
		if kind := meta.Description[describesKind]; kind != "" {
			out[id] = Step{Kind: StepKind(kind), Part: meta.Description[describesPart], Platform: meta.Description[describesFor]}
		}
	}
	return out
}
