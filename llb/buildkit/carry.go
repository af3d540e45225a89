package buildkit

import (
	"context"
	"regexp"
	"strconv"

	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/objects"
	"github.com/moby/buildkit/session"
)

// carriage transfers the compiler cache of a build; nil for nothing to transfer.
type carriage struct {
	*objects.Carrier
	slots []string
}

// carry starts to read the objects for a job's plans. Locked plans have none.
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

// Objects counts a step's compiles and where their objects came from.
type Objects struct {
	// Compiles is the number of compiles, Cached how many of them the compiler cache had,
	// and Carried how many of those came from a registry.
	Compiles int `json:"compiles"`
	Cached   int `json:"cached"`
	Carried  int `json:"carried,omitempty"`
}

// counted matches a line that scripts/compile.sh prints.
var counted = regexp.MustCompile(`^llorch-bk: (\d+) compiles, (\d+) from the compiler cache, (\d+) of these from the registry\s*$`)

// objectsIn parses the counts in a line of a step's log.
func objectsIn(line string) (Objects, bool) {
	m := counted.FindStringSubmatch(line)
	if m == nil {
		return Objects{}, false
	}
	var o Objects
	for i, to := range []*int{&o.Compiles, &o.Cached, &o.Carried} {
		*to, _ = strconv.Atoi(m[i+1]) // The pattern matches digits only.
	}
	return o, true
}
