package app

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/model"
	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// Company is what a user asked of a model's companions.
type Company struct {
	// MMProj and Draft are model refs, empty for none that is named.
	MMProj, Draft string
	// NoMMProj leaves out the projector that a model's repository has.
	NoMMProj bool
	// LoRAs are model refs, each with an optional "=SCALE".
	LoRAs []string
}

// company is a Company checked.
type company struct {
	// projector and draft are nil where none is named.
	projector, draft *model.Ref
	adapters         []adapter
	// alone leaves out the projector that a model's repository has.
	alone bool
}

// adapter is a LoRA adapter that counts for so much.
type adapter struct {
	ref   model.Ref
	scale float64
}

// checkCompany reads what a user asked of companions, and compares it with the user's
// flags for the server.
func checkCompany(c Company, server []string) (company, error) {
	out := company{alone: c.NoMMProj}
	given := engine.Given(server)
	twice := func(kind engine.Kind) error {
		return fault.New(fault.Usage, fmt.Sprintf("`%s` is given twice", kind), errors.New("the flags for the server say it as well"), "give one of them")
	}
	var err error
	switch {
	case c.MMProj != "" && c.NoMMProj:
		return out, fault.New(fault.Usage, "`mmproj` and `no-mmproj` exclude each other", nil, "leave one of them out")
	case c.MMProj != "" && given[engine.KindProjector]:
		return out, twice(engine.KindProjector)
	case c.Draft != "" && given[engine.KindDraft]:
		return out, twice(engine.KindDraft)
	}
	if out.projector, err = optional(c.MMProj); err != nil {
		return out, err
	}
	if out.draft, err = optional(c.Draft); err != nil {
		return out, err
	}
	out.alone = out.alone || given[engine.KindProjector]
	for _, word := range c.LoRAs {
		a, err := parseAdapter(word)
		if err != nil {
			return out, err
		}
		out.adapters = append(out.adapters, a)
	}
	return out, nil
}

// isHere says whether all companions that are named are files of this machine.
func (c company) isHere() bool {
	here := func(r *model.Ref) bool { return r == nil || r.Kind == ref.File }
	return here(c.projector) && here(c.draft) && !slices.ContainsFunc(c.adapters, func(a adapter) bool { return a.ref.Kind != ref.File })
}

func optional(raw string) (*model.Ref, error) {
	if raw == "" {
		return nil, nil
	}
	r, err := model.Parse(raw)
	return &r, err
}

// parseAdapter reads a ref with an optional scale behind a '='. A ref can have a '=' of
// its own, before a hash or in a path.
func parseAdapter(word string) (adapter, error) {
	a := adapter{scale: 1}
	raw := word
	if i := strings.LastIndexByte(word, '='); i >= 0 && !strings.HasSuffix(word[:i], "#sha256") {
		if scale, err := strconv.ParseFloat(word[i+1:], 64); err == nil {
			raw, a.scale = word[:i], scale
		}
	}
	if a.scale-a.scale != 0 { // infinite, or no number
		return a, fault.New(fault.Usage, "`lora` has the scale "+word[len(raw)+1:], errors.New("an adapter cannot count for that much"), "write a number, as in file.gguf=0.5")
	}
	var err error
	a.ref, err = model.Parse(raw)
	return a, err
}
