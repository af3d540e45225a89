package pool

import (
	"strings"

	"github.com/llorch/llorch-bk/runtime/engine"
)

// The kinds of what prune removes, in the order in which it does.
const (
	KindBuilders = "builders"
	KindImages   = "images"
	KindVolumes  = "volumes"
	KindCaches   = "caches"
)

// Builder is a builder of llorch-bk's own.
type Builder struct {
	// Where it is, and its kind: a container or a process.
	Where, Kind string
	Running     bool
	Bytes       int64
}

// Cache is a folder whose content can be made again.
type Cache struct {
	Path, Note string
	Bytes      int64
}

// Stock is all that llorch-bk left on this machine.
type Stock struct {
	Builders []Builder
	Engine   engine.Stock
	Caches   []Cache
}

// Leftover is one thing that nothing uses.
type Leftover struct {
	// Kind is one of the kinds.
	Kind string
	// ID is how it is removed, Name what it is called, or where it is.
	ID, Name string
	// Bytes is what it takes; 0 where that is not known.
	Bytes int64
	// Why it can go, and Note for what more there is to know.
	Why, Note string
}

// Prune are the things that can be removed without a loss: a builder, which is
// started again when it is needed; images and volumes that no container has; caches.
func Prune(s Stock) []Leftover {
	var out []Leftover
	for _, b := range s.Builders {
		l := Leftover{Kind: KindBuilders, ID: b.Where, Name: b.Where, Bytes: b.Bytes, Why: "it is started again when it is needed", Note: "a " + b.Kind}
		if !b.Running {
			l.Note += ", stopped"
		}
		out = append(out, l)
	}
	for _, i := range s.Engine.Images {
		if i.Containers > 0 {
			continue
		}
		l := Leftover{Kind: KindImages, ID: i.ID, Name: i.ID, Bytes: i.Bytes, Why: "no container is made of it"}
		if len(i.Names) > 0 {
			l.Name = strings.Join(i.Names, " ")
		}
		out = append(out, l)
	}
	for _, v := range s.Engine.Volumes {
		if v.Containers > 0 {
			continue
		}
		l := Leftover{Kind: KindVolumes, ID: v.Name, Name: v.Name, Why: "no container has it mounted"}
		if v.Shows != "" {
			l.Note = "shows " + v.Shows + ", which stays"
		}
		out = append(out, l)
	}
	for _, c := range s.Caches {
		out = append(out, Leftover{Kind: KindCaches, ID: c.Path, Name: c.Path, Bytes: c.Bytes, Why: "it can be made again", Note: c.Note})
	}
	return out
}
