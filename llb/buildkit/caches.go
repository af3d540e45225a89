package buildkit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/objects"
	"github.com/moby/buildkit/client"
	buildctl "github.com/moby/buildkit/cmd/buildctl/build"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
)

// Caches are layer caches beside the builder's own. Cache mounts are in none of them:
// the compiler cache's objects travel beside those in a registry.
type Caches struct {
	Imports []client.CacheOptionsEntry
	Exports []client.CacheOptionsEntry
	Objects objects.Config
}

// ParseCaches reads cache specifications as buildctl and buildx have them: an
// image's name, or type=registry|local|gha|s3|azblob|inline with the type's own
// attributes. Exports of a registry or folder keep every step (mode=max) where
// nothing else is said: a step's compile is what a cache is for. Beside one of a registry
// are the compiler cache's objects: objects=false leaves them out, and objects-max=SIZE
// says how many bytes --cache-to may leave there. A wrong one is a fault.Usage.
func ParseCaches(from, to []string) (Caches, error) {
	var c Caches
	var err error
	wrong := func(flag string, err error) error {
		return fault.New(fault.Usage, flag+" cannot be understood", err,
			"write it as a name such as registry.example.com/cache:llama, or as type=local,src=DIR (for --cache-to: dest=DIR)")
	}
	for _, spec := range slices.Concat(from, to) {
		if strings.Contains(spec, "=") && !strings.Contains(spec, "type=") {
			return c, wrong("the cache "+spec, errors.New("it has no type="))
		}
	}
	if c.Imports, err = buildctl.ParseImportCache(from); err != nil {
		return c, wrong("--cache-from", err)
	}
	if c.Exports, err = buildctl.ParseExportCache(full(to)); err != nil {
		return c, wrong("--cache-to", err)
	}
	if c.Objects.From, _, err = objectsBeside(c.Imports); err != nil {
		return c, wrong("--cache-from", err)
	}
	written, limit, err := objectsBeside(c.Exports)
	if err != nil {
		return c, wrong("--cache-to", err)
	}
	if len(written) > 0 {
		c.Objects.To, c.Objects.Max = &written[0], limit
	}
	return c, nil
}

// objectsBeside takes from layer caches what they say of objects, which is not BuildKit's,
// and names the artifacts beside those in a registry.
func objectsBeside(caches []client.CacheOptionsEntry) (refs []objects.Ref, limit int64, err error) {
	const switchKey, limitKey, insecureKey = "objects", "objects-max", "registry.insecure"
	for _, e := range caches {
		wanted, said := e.Attrs[switchKey]
		size, limited := e.Attrs[limitKey]
		delete(e.Attrs, switchKey)
		delete(e.Attrs, limitKey)
		if e.Type != "registry" {
			if said || limited {
				return nil, 0, fmt.Errorf("type=%s keeps no objects of the compiler cache", e.Type)
			}
			continue
		}
		on := true
		if said {
			if on, err = strconv.ParseBool(wanted); err != nil {
				return nil, 0, fmt.Errorf("%s must be true or false, got %q", switchKey, wanted)
			}
		}
		if limited {
			if limit, err = units.FromHumanSize(size); err != nil || limit <= 0 {
				return nil, 0, fmt.Errorf("%s must be a size such as 500MB, got %q", limitKey, size)
			}
		}
		beside, err := objects.Beside(e.Attrs["ref"])
		if !on || err != nil {
			continue // What is no name of an image, the builder says.
		}
		insecure, _ := strconv.ParseBool(e.Attrs[insecureKey])
		refs = append(refs, objects.Ref{Name: beside, Insecure: insecure})
	}
	return refs, limit, nil
}

// full adds the mode to exports that do not name one, and the type to names.
func full(to []string) []string {
	out := slices.Clone(to)
	for i, spec := range out {
		if !strings.Contains(spec, "=") {
			spec = "type=registry,ref=" + spec
		}
		if !strings.Contains(spec, "mode=") && !strings.Contains(spec, "type=inline") {
			spec += ",mode=max"
		}
		out[i] = spec
	}
	return out
}

func (c Caches) requests() []gateway.CacheOptionsEntry {
	out := make([]gateway.CacheOptionsEntry, len(c.Imports))
	for i, e := range c.Imports {
		out[i] = gateway.CacheOptionsEntry{Type: e.Type, Attrs: e.Attrs}
	}
	return out
}

// snapshotterLabel is on the worker of an engine whose images are containerd's.
const snapshotterLabel = "org.mobyproject.buildkit.worker.snapshotter"

// Takes says before anything is built that a builder cannot do what is
// asked: inside an engine with graphdrivers it knows inline caches only, and gives
// images to that engine alone; an old one fails at the very end.
func (b *Builder) Takes(ctx context.Context, c Caches, out Output) error {
	other := func(e client.CacheOptionsEntry) bool { return e.Type != "inline" && e.Type != "registry" }
	if !b.Embedded || !out.Elsewhere() && len(c.Exports) == 0 && !slices.ContainsFunc(c.Imports, other) {
		return nil
	}
	workers, err := b.client.ListWorkers(ctx)
	if err != nil {
		return unreachable(b, err)
	}
	for _, w := range workers {
		if w.Labels[snapshotterLabel] != "" {
			return nil
		}
	}
	if out.Elsewhere() {
		return fault.New(fault.Machine, "the Docker engine's BuildKit gives an image to its engine only", errors.New("its images are in a graphdriver"),
			"use a builder of its own: --builder managed, unix://… or docker-container://…; or switch the engine to containerd's image store")
	}
	if !slices.ContainsFunc(c.Exports, func(e client.CacheOptionsEntry) bool { return e.Type != "inline" }) && !slices.ContainsFunc(c.Imports, other) {
		return nil
	}
	return fault.New(fault.Machine, "the Docker engine's BuildKit cannot keep such a cache", errors.New("its images are in a graphdriver, which has inline caches only"),
		"use a builder of its own: --builder managed, unix://… or docker-container://…; or switch the engine to containerd's image store")
}
