package pool

import (
	"strings"

	"github.com/llorch/llorch-bk/runtime/engine"
)

// The kinds of objects that prune removes, in this order.
const (
	KindBuilders = "builders"
	KindImages   = "images"
	KindVolumes  = "volumes"
	KindCaches   = "caches"
)

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
	// Kind is one of the constants above.
	Kind string
	// ID identifies it for removal; Name is its name or path.
	ID, Name string
	// Bytes is its size; 0 if unknown.
	Bytes int64
	// Why says why it can be removed; Note is further information.
	Why, Note string
}

// Prune lists what can be removed without loss: builders, which are started again on demand,
// images and volumes without containers, and caches.
func Prune(s Stock) []Leftover {
	var out []Leftover
	for _, b := range s.Builders {
		l := Leftover{Kind: KindBuilders, ID: b.Where, Name: b.Where, Bytes: b.Bytes, Why: "it is started again on demand", Note: "a " + b.Kind}
		if !b.Running {
			l.Note += ", stopped"
		}
		out = append(out, l)
	}
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
	for _, c := range s.Caches {
		out = append(out, Leftover{Kind: KindCaches, ID: c.Path, Name: c.Path, Bytes: c.Bytes, Why: "it can be rebuilt", Note: c.Note})
	}
	return out
}
