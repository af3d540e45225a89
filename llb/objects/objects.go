// Package objects transfers objects of the compiler cache between a registry and the compile
// steps of a build.
//
// A registry's layer cache has whole steps. If a commit touches a step, the step runs again,
// and on an empty builder it compiles all of its files. So the registry also gets the
// results of single compiles, beside the layers: an artifact with a blob for each slot. A
// slot is a part of the plan for one platform, base and set of flags. A step downloads its
// slot through a socket that the session forwards, and uploads the objects that it used. None
// of this is in a cache key, and a cached step transfers nothing.
//
// As with a layer cache, whoever can write the artifact decides what images contain.
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

// DefaultMax is the default size limit of an artifact, in bytes. Objects of llama.cpp for
// every CPU take some tens of megabytes, those for many GPUs some hundreds.
const DefaultMax = 500_000_000

// Config says where objects are read and written.
type Config struct {
	// From are the artifacts to read. The first that has a slot is used.
	From []Ref
	// To is the artifact to write; nil for none.
	To *Ref
	// Max is the size limit of To in bytes; 0 means DefaultMax.
	Max int64
	// Transport sends the requests; nil means http.DefaultTransport.
	Transport http.RoundTripper
}

// Empty reports whether there is nothing to read or write.
func (c Config) Empty() bool { return len(c.From) == 0 && c.To == nil }

// Carrier serves the compile steps of one build. It is attached to the build's session.
type Carrier struct {
	cfg    Config
	dir    string
	server *http.Server
	conns  *listener

	mu sync.Mutex
	// read has a channel for the content of each of cfg.From. Each is read once.
	read   []chan source
	given  map[string]blob
	report Report
}

// Report is what a carrier transferred.
type Report struct {
	// From is the first artifact that a step downloaded from; empty if no step did.
	From string `json:"from,omitempty"`
	// Pulled is the number of bytes that steps downloaded.
	Pulled int64 `json:"pulled,omitempty"`
	// To is the artifact that was written; empty if it did not change.
	To string `json:"to,omitempty"`
	// Pushed is the number of bytes that were added to it.
	Pushed int64 `json:"pushed,omitempty"`
	// Notices say what failed, and why.
	Notices []string `json:"notices,omitempty"`
}

// source is the content of an artifact, or the error of reading it.
type source struct {
	ref     Ref
	entries []entry
	err     error
}

// readPatience is the time limit for reading an artifact, and writePatience the one for
// writing it.
const (
	readPatience  = 30 * time.Second
	writePatience = 10 * time.Minute
)

// New starts to read the artifacts, while the builder pulls layers. Close ends it.
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

// Close ends transfers and removes what was not pushed.
func (c *Carrier) Close() error {
	_ = c.server.Close()
	return os.RemoveAll(c.dir)
}

// sources waits until each artifact has been read, and returns them.
func (c *Carrier) sources(ctx context.Context) ([]source, error) {
	var out []source
	for _, read := range c.read {
		select {
		case s := <-read:
			read <- s // for the next caller
			out = append(out, s)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return out, nil
}

// Finish writes the objects that steps uploaded to the registry, and keeps the artifact's
// other slots. slots are the plan's own: they are evicted last if the size limit is
// reached. It never fails a build: errors become notices.
func (c *Carrier) Finish(ctx context.Context, slots []string) Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, read := range c.read {
		select {
		case s := <-read:
			read <- s
			if s.err != nil {
				c.notice("%s: cannot read it: %v", s.ref.Name, s.err)
			}
		default: // No step waited for it.
		}
	}
	if c.cfg.To != nil && len(c.given) > 0 {
		ctx, cancel := context.WithTimeout(ctx, writePatience)
		defer cancel()
		if err := c.write(ctx, slots); err != nil {
			c.notice("%s: cannot write it: %v", c.cfg.To.Name, err)
		}
	}
	return c.report
}

func (c *Carrier) notice(format string, args ...any) {
	c.report.Notices = append(c.report.Notices, "the compiler cache "+fmt.Sprintf(format, args...))
}

// write merges the artifact's slots with those that steps uploaded.
func (c *Carrier) write(ctx context.Context, slots []string) error {
	had, err := c.readArtifact(ctx, *c.cfg.To)
	if err != nil {
		return err
	}
	entries := slices.Clone(had)
	for slot, b := range c.given {
		same := func(e entry) bool { return e.slot == slot }
		if i := slices.IndexFunc(entries, same); i >= 0 && entries[i].toolchain == b.toolchain && entries[i].content == b.content {
			continue // At most the times in headers differ.
		}
		entries = append(slices.DeleteFunc(entries, same), b.entry)
	}
	entries, left := fit(entries, slots, c.cfg.Max)
	for _, e := range left {
		if slices.Contains(slots, e.slot) {
			c.notice("is too small: %s needs %s, but objects-max is %s; raise objects-max", e.slot, units.HumanSize(float64(e.size)), units.HumanSize(float64(c.cfg.Max)))
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

// keep stores an upload for a slot in a file.
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
