// Package objects carries objects of the compiler cache between a registry and the compile
// steps of a build.
//
// A registry's layer cache has whole steps. A step that a commit touches runs again, and
// on a builder with nothing in it compiles everything that it has. So what a step's
// compiles gave is kept in the registry too, beside the layers: a blob for each slot, which
// is a part of the plan for one platform, base and set of flags, in one artifact. A step
// asks for its slot through a socket that the session lends it, and gives back what it
// used. Nothing of that is in a key, and a step that is cached costs no transfer.
//
// Whoever may write the artifact decides what is in an image, as with a layer cache.
package objects

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/docker/go-units"
)

// DefaultMax is how many bytes an artifact may have where nobody says otherwise. Those of
// llama.cpp for every CPU are some tens of megabytes, those for many GPUs some hundreds.
const DefaultMax = 500_000_000

// Config says where objects come from and go to.
type Config struct {
	// From are read, the first that has a slot counts.
	From []Ref
	// To is written; nil to write none.
	To *Ref
	// Max is how many bytes the artifact at To may have; 0 for DefaultMax.
	Max int64
	// Transport carries the requests; nil for http.DefaultTransport.
	Transport http.RoundTripper
}

// Empty says that there is nothing to carry.
func (c Config) Empty() bool { return len(c.From) == 0 && c.To == nil }

// Carrier serves the compile steps of one build. It is a session's attachable.
type Carrier struct {
	cfg    Config
	dir    string
	server *http.Server
	conns  *listener

	mu sync.Mutex
	// read are what is to be had, a channel for each of cfg.From; each is read once.
	read   []chan source
	given  map[string]blob
	report Report
}

// Report is what a carrier has done.
type Report struct {
	// From is the first artifact of which a step took something; empty where none did.
	From string `json:"from,omitempty"`
	// Pulled is how many bytes the steps took.
	Pulled int64 `json:"pulled,omitempty"`
	// To is the artifact that was written; empty where it is as it was.
	To string `json:"to,omitempty"`
	// Pushed is how many bytes were added to it.
	Pushed int64 `json:"pushed,omitempty"`
	// Notices say what was not done, and why.
	Notices []string `json:"notices,omitempty"`
}

// source is an artifact as it was read.
type source struct {
	ref     Ref
	entries []entry
	err     error
}

// readPatience is how long a registry may take to say what it has, and writePatience how
// long it may take to keep what it is given.
const (
	readPatience  = 30 * time.Second
	writePatience = 10 * time.Minute
)

// New begins to read what is there, while the builder pulls layers. Close ends it.
func New(ctx context.Context, cfg Config) (*Carrier, error) {
	if cfg.Max == 0 {
		cfg.Max = DefaultMax
	}
	dir, err := os.MkdirTemp("", "llorch-objects-")
	if err != nil {
		return nil, err
	}
	c := &Carrier{cfg: cfg, dir: dir, conns: newListener(), given: map[string]blob{}}
	for _, ref := range cfg.From {
		read := make(chan source, 1)
		c.read = append(c.read, read)
		go func() {
			ctx, cancel := context.WithTimeout(ctx, readPatience)
			defer cancel()
			s := source{ref: ref}
			s.entries, s.err = c.readArtifact(ctx, ref)
			read <- s
		}()
	}
	c.server = &http.Server{Handler: c.routes(), ReadHeaderTimeout: time.Minute}
	go func() { _ = c.server.Serve(c.conns) }()
	return c, nil
}

// Close ends what is in progress and removes what was not pushed.
func (c *Carrier) Close() error {
	_ = c.server.Close()
	return os.RemoveAll(c.dir)
}

// sources are the artifacts, as soon as each has been read.
func (c *Carrier) sources(ctx context.Context) ([]source, error) {
	var out []source
	for _, read := range c.read {
		select {
		case s := <-read:
			read <- s // for the next who asks
			out = append(out, s)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return out, nil
}

// Finish writes what the steps gave to the registry, beside what it has of other slots.
// slots are the plan's: they are the last to go where there is too much. It fails
// nothing: what went wrong is a notice.
func (c *Carrier) Finish(ctx context.Context, slots []string) Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, read := range c.read {
		select {
		case s := <-read:
			read <- s
			if s.err != nil {
				c.notice("%s was not read: %v", s.ref.Name, s.err)
			}
		default: // Nobody waited for it.
		}
	}
	if c.cfg.To != nil && len(c.given) > 0 {
		ctx, cancel := context.WithTimeout(ctx, writePatience)
		defer cancel()
		if err := c.write(ctx, slots); err != nil {
			c.notice("%s was not written: %v", c.cfg.To.Name, err)
		}
	}
	return c.report
}

func (c *Carrier) notice(format string, args ...any) {
	c.report.Notices = append(c.report.Notices, "the compiler cache "+fmt.Sprintf(format, args...))
}

// write makes the artifact anew of what it has and what the steps gave.
func (c *Carrier) write(ctx context.Context, slots []string) error {
	had, err := c.readArtifact(ctx, *c.cfg.To)
	if err != nil {
		return err
	}
	entries := slices.Clone(had)
	for slot, b := range c.given {
		same := func(e entry) bool { return e.slot == slot }
		if i := slices.IndexFunc(entries, same); i >= 0 && entries[i].toolchain == b.toolchain && entries[i].content == b.content {
			continue // Other bytes at most: a header with a time.
		}
		entries = append(slices.DeleteFunc(entries, same), b.entry)
	}
	entries, left := fit(entries, slots, c.cfg.Max)
	for _, e := range left {
		if slices.Contains(slots, e.slot) {
			c.notice("of %s takes %s, more than %s has room for: raise objects-max", e.slot, units.HumanSize(float64(e.size)), units.HumanSize(float64(c.cfg.Max)))
		}
	}
	if slices.EqualFunc(had, entries, func(x, y entry) bool { return x.digest == y.digest }) {
		return nil
	}
	for _, e := range entries {
		b, ok := c.given[e.slot]
		if !ok || b.digest != e.digest {
			continue
		}
		if err := c.writeBlob(ctx, *c.cfg.To, b); err != nil {
			return err
		}
		c.report.Pushed += b.size
	}
	if err := c.writeArtifact(ctx, *c.cfg.To, entries); err != nil {
		return err
	}
	c.report.To = c.cfg.To.Name
	return nil
}

// keep takes what a step gives of a slot into a file.
func (c *Carrier) keep(slot, toolchain string, body io.Reader) error {
	b, err := newBlob(c.dir, slot, toolchain, body)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given[slot] = b
	return nil
}
