package pool

import (
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/runtime/engine"
)

// The kinds of objects that Prune deletes.
const (
	KindBuilders = "builders"
	KindImages   = "images"
	KindVolumes  = "volumes"
	KindCaches   = "caches"
)

// Kinds are all kinds, in the order in which Prune deletes them.
var Kinds = []string{KindBuilders, KindImages, KindVolumes, KindCaches}

// Builder is a builder that llorch-bk started.
type Builder struct {
	// Where is its name or path; Kind is container or process.
	Where, Kind string
	Running     bool
	Bytes       int64
}

// Cache is a folder whose content can be rebuilt.
type Cache struct {
	Path, Note string
	Bytes      int64
}

// Stock is everything that llorch-bk left on this machine.
type Stock struct {
	Builders []Builder
	Engine   engine.Stock
	Caches   []Cache
}

// Leftover is one object that nothing uses.
type Leftover struct {
	// Kind is one of Kinds.
	Kind string
	// ID identifies it for removal; Name is its name or path.
	ID, Name string
	// Bytes is its size; 0 if unknown.
	Bytes int64
	// Why says why it can be removed; Note is further information.
	Why, Note string
}

// Prune is the plan that deletes what can be removed without a loss: builders, which
// are started again when they are needed; images and volumes that no container has;
// caches. It deletes some of Kinds only, or all if none are named. No operation needs
// another, so one that fails leaves the rest to be carried out.
func Prune(kinds []string, s Stock) Plan {
	if len(kinds) == 0 {
		kinds = Kinds
	}
	p := Plan{Title: "prune plan for " + strings.Join(kinds, ", ")}
	of := map[string]func(Stock) []Leftover{
		KindBuilders: unusedBuilders, KindImages: unusedImages, KindVolumes: unusedVolumes, KindCaches: caches,
	}
	for _, kind := range Kinds {
		if !slices.Contains(kinds, kind) {
			continue
		}
		for _, l := range of[kind](s) {
			p.Ops = append(p.Ops, l.remove())
		}
	}
	return p
}

// Leftovers are the things that a plan deletes, in its order.
func (p Plan) Leftovers() []*Leftover {
	var out []*Leftover
	for _, op := range p.Ops {
		if op.Leftover != nil {
			out = append(out, op.Leftover)
		}
	}
	return out
}

func (l Leftover) remove() Op {
	why := l.Why
	if l.Note != "" {
		why += " (" + l.Note + ")"
	}
	return Op{Do: Delete, On: strings.TrimSuffix(l.Kind, "s") + " " + l.Name, Why: why, Leftover: &l, Alone: true}
}

func unusedBuilders(s Stock) []Leftover {
	var out []Leftover
	for _, b := range s.Builders {
		l := Leftover{Kind: KindBuilders, ID: b.Where, Name: b.Where, Bytes: b.Bytes, Why: "it is started again on demand", Note: "a " + b.Kind}
		if !b.Running {
			l.Note += ", stopped"
		}
		out = append(out, l)
	}
	return out
}

func unusedImages(s Stock) []Leftover {
	var out []Leftover
	for _, i := range s.Engine.Images {
		if i.Containers > 0 {
			continue
		}
		l := Leftover{Kind: KindImages, ID: i.ID, Name: i.ID, Bytes: i.Bytes, Why: "no container uses it"}
		if len(i.Names) > 0 {
			l.Name = strings.Join(i.Names, " ")
		}
		out = append(out, l)
	}
	return out
}

func unusedVolumes(s Stock) []Leftover {
	var out []Leftover
	for _, v := range s.Engine.Volumes {
		if v.Containers > 0 {
			continue
		}
		l := Leftover{Kind: KindVolumes, ID: v.Name, Name: v.Name, Why: "no container mounts it"}
		if v.Shows != "" {
			l.Note = "shows " + v.Shows + ", which is kept"
		}
		out = append(out, l)
	}
	return out
}

func caches(s Stock) []Leftover {
	var out []Leftover
	for _, c := range s.Caches {
		out = append(out, Leftover{Kind: KindCaches, ID: c.Path, Name: c.Path, Bytes: c.Bytes, Why: "it can be rebuilt", Note: c.Note})
	}
	return out
}
