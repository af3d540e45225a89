package buildkit

import (
	"context"
	"regexp"
	"strconv"

	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/objects"
	"github.com/moby/buildkit/session"
)

// carriage is what a build carries of the compiler cache; nil for nothing.
type carriage struct {
	*objects.Carrier
	slots []string
}

// carry begins to read what a job's caches have for its plans. A locked plan takes nothing.
func carry(ctx context.Context, j Job) (*carriage, error) {
	var slots []string
	for _, p := range j.plans() {
		of, err := llb.Slots(p)
		if err != nil {
			return nil, err
		}
		slots = append(slots, of...)
	}
	if len(slots) == 0 || j.Caches.Objects.Empty() {
		return nil, nil
	}
	c, err := objects.New(ctx, j.Caches.Objects)
	if err != nil {
		return nil, err
	}
	return &carriage{c, slots}, nil
}

func (c *carriage) attachables() []session.Attachable {
	if c == nil {
		return nil
	}
	return []session.Attachable{c.Carrier}
}

func (c *carriage) finish(ctx context.Context) objects.Report {
	if c == nil {
		return objects.Report{}
	}
	return c.Finish(ctx, c.slots)
}

func (c *carriage) close() {
	if c != nil {
		_ = c.Close()
	}
}

// Objects says where the objects of a step came from.
type Objects struct {
	// Compiles is how many there were, Cached how many of them the compiler cache
	// had, and Carried how many of those came from a registry.
	Compiles int `json:"compiles"`
	Cached   int `json:"cached"`
	Carried  int `json:"carried,omitempty"`
}

// counted are the words of scripts/compile.sh.
var counted = regexp.MustCompile(`^llorch-bk: (\d+) compiles, (\d+) from the compiler cache, (\d+) of these from the registry\s*$`)

// objectsIn reads what a line of a step's log says of its objects.
func objectsIn(line string) (Objects, bool) {
	m := counted.FindStringSubmatch(line)
	if m == nil {
		return Objects{}, false
	}
	var o Objects
	for i, to := range []*int{&o.Compiles, &o.Cached, &o.Carried} {
		*to, _ = strconv.Atoi(m[i+1]) // Digits, and fewer than a tree has files.
	}
	return o, true
}
