package engine

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
)

// Kind is what a companion is to its model.
type Kind string

// The kinds, as handoffs have them.
const (
	// KindProjector lets a model see or hear.
	KindProjector Kind = "mmproj"
	// KindDraft guesses ahead of the model: a small model, or a head made for it.
	KindDraft Kind = "draft"
	// KindLoRA changes what the model says.
	KindLoRA Kind = "lora"
)

// SpeculationSimple is a draft that is a model like any other. Servers before 2026 know
// nothing else, and have no name for it.
const SpeculationSimple = "draft-simple"

// Companion is a file that belongs to the model which is served.
type Companion struct {
	Kind Kind `json:"kind"`
	// Ref is its reference as the user gave it, or as it was found.
	Ref string `json:"ref"`
	// Path is its file on the host, of several the first, Size their bytes, and SHA256
	// the hash of that file in hex.
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Scale is how much an adapter counts, 1 for as it is; nil where the user's own flags
	// say it, and for other kinds.
	Scale *float64 `json:"scale,omitempty"`
	// Speculation is the server's name for the way in which a draft is used; empty
	// leaves it to the server.
	Speculation string `json:"speculation,omitempty"`
	// At is the path that the server gets.
	At string `json:"-"`
}

// CompanionFlags are the flags by which a server with these options is given companions.
// Own are the flags that the user gave it. A server that cannot be given one is a
// fault.Engine.
func CompanionFlags(o Options, companions []Companion, own []string) ([]string, error) {
	var out []string
	var adapters []Companion
	for _, c := range companions {
		var words []string
		var err error
		switch c.Kind {
		case KindProjector:
			words, err = o.projector(c)
		case KindDraft:
			words, err = o.draft(c, own)
		case KindLoRA:
			adapters = append(adapters, c)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, words...)
	}
	words, err := o.adapters(adapters)
	return append(out, words...), err
}

// missing is the error for a companion that a server has no flag for.
func missing(c Companion) error {
	return fault.New(fault.Engine, "the image's server cannot be given "+c.Ref, fmt.Errorf("its help has no flag for a companion of the kind %s", c.Kind),
		"build another commit of llama.cpp, or leave the companion out")
}

func (o Options) projector(c Companion) ([]string, error) {
	_, name, ok := o.find(dashes + "mmproj")
	if !ok {
		name, ok = o.called("path to a multimodal projector file")
	}
	if !ok {
		return nil, missing(c)
	}
	return []string{name, c.At}, nil
}

func (o Options) draft(c Companion, own []string) ([]string, error) {
	_, name, ok := o.find(dashes+"spec-draft-model", dashes+"model-draft")
	if !ok {
		name, ok = o.called("draft model for speculative decoding")
	}
	if !ok {
		return nil, missing(c)
	}
	out := []string{name, c.At}
	// Servers of 2026 load a draft and do not use it before they are told how.
	option, how, ok := o.find(flagSpecType)
	switch known := ok && strings.Contains(option.Value, c.Speculation); {
	case c.Speculation == "" || len(SpeculationOf(own)) > 0:
	case known:
		out = append(out, how, c.Speculation)
	case c.Speculation != SpeculationSimple:
		return nil, fault.New(fault.Engine, "the image's server cannot use "+c.Ref, fmt.Errorf("it does not know %s", c.Speculation), "build a newer commit of llama.cpp, or leave the draft out")
	}
	return out, nil
}

// adapters are the flags for LoRA adapters. As long as none has a scale, they are given
// without.
func (o Options) adapters(all []Companion) ([]string, error) {
	if len(all) == 0 {
		return nil, nil
	}
	plain := true
	for _, c := range all {
		plain = plain && (c.Scale == nil || *c.Scale == 1)
	}
	flag := dashes + "lora"
	if !plain {
		flag = dashes + "lora-scaled"
	}
	option, name, ok := o.find(flag)
	if !ok {
		return nil, missing(all[0])
	}
	// Until 2025 a flag took one adapter and was repeated, and the scale was a word.
	together := strings.Contains(option.Text+option.Value, "comma") || strings.Contains(option.Value, ",")
	joined := plain || strings.Contains(option.Value, ":")
	if !plain && !joined && !strings.Contains(option.Value, " ") {
		return nil, fault.New(fault.Engine, "the image's server cannot be given "+all[0].Ref+" with a scale", errors.New("its help writes the value as "+option.Value), "leave the scale out")
	}
	var items, words []string
	for _, c := range all {
		scale := "1"
		if c.Scale != nil {
			scale = strconv.FormatFloat(*c.Scale, 'g', -1, 64)
		}
		switch {
		case plain:
			items = append(items, c.At)
		case joined:
			items = append(items, c.At+":"+scale)
		default:
			words = append(words, name, c.At, scale)
		}
	}
	switch {
	case !joined:
		return words, nil
	case together:
		return []string{name, strings.Join(items, ",")}, nil
	}
	for _, item := range items {
		words = append(words, name, item)
	}
	return words, nil
}

// Given says which kinds of companions the user's own flags name, so that no other
// one is added. A projector that is switched off counts as named.
func Given(own []string) map[Kind]bool {
	out := map[Kind]bool{}
	for _, word := range own {
		flag, _, _ := splitFlag(word)
		if name, long := longName(flag); long && (name == "no-mmproj" || name == "no-mmproj-auto") {
			out[KindProjector] = true
		}
		if f, ok := pathFlagOf(flag); ok {
			switch f.names[0] {
			case "mmproj":
				out[KindProjector] = true
			case "model-draft":
				out[KindDraft] = true
			}
		}
	}
	return out
}

// SpeculationOf are the ways of speculative decoding that flags for the server ask for.
func SpeculationOf(own []string) []string {
	var out []string
	for i, word := range own {
		flag, value, joined := splitFlag(word)
		if name, long := longName(flag); !long || dashes+name != flagSpecType {
			continue
		}
		if !joined && i+1 < len(own) {
			value = own[i+1]
		}
		for way := range strings.SplitSeq(value, ",") {
			out = append(out, strings.TrimSpace(way))
		}
	}
	return out
}
