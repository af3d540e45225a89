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

// Caches are layer caches outside the builder. They do not contain cache mounts: beside a
// cache in a registry, Objects transfers the compiler cache's objects.
type Caches struct {
	Imports []client.CacheOptionsEntry
	Exports []client.CacheOptionsEntry
	Objects objects.Config
}

// ParseCaches parses cache specifications in the syntax of buildctl and buildx: an image's
// name, or type=registry|local|gha|s3|azblob|inline with attributes. Exports to a registry
// or folder default to mode=max, because the results of compile steps are what the cache is
// for. A registry cache also has compiler cache objects beside it: objects=false turns them
// off, and objects-max=SIZE limits the bytes that --cache-to may store. An invalid
// specification is a fault.Usage.
func ParseCaches(from, to []string) (Caches, error) {
	var c Caches
	var err error
	wrong := func(flag string, err error) error {
		return fault.New(fault.Usage, "invalid "+flag, err,
			"write a name such as registry.example.com/cache:llama, or as type=local,src=DIR (for --cache-to: dest=DIR)")
	}
	for _, spec := range slices.Concat(from, to) {
		if strings.Contains(spec, "=") && !strings.Contains(spec, "type=") {
			return c, wrong("cache "+spec, errors.New("type= is missing"))
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

// objectsBeside removes the attributes about objects, which BuildKit does not know, from
// layer caches, and returns the artifacts beside registry caches.
func objectsBeside(caches []client.CacheOptionsEntry) (refs []objects.Ref, limit int64, err error) {
	const switchKey, limitKey, insecureKey = "objects", "objects-max", "registry.insecure"
	for _, e := range caches {
		value, set := e.Attrs[switchKey]
		size, limited := e.Attrs[limitKey]
		delete(e.Attrs, switchKey)
		delete(e.Attrs, limitKey)
		if e.Type != "registry" {
			if set || limited {
				return nil, 0, fmt.Errorf("type=%s does not store objects of the compiler cache", e.Type)
			}
			continue
		}
		on := true
		if set {
			if on, err = strconv.ParseBool(value); err != nil {
				return nil, 0, fmt.Errorf("%s must be true or false, got %q", switchKey, value)
			}
		}
		if limited {
			if limit, err = units.FromHumanSize(size); err != nil || limit <= 0 {
				return nil, 0, fmt.Errorf("%s must be a size such as 500MB, got %q", limitKey, size)
			}
		}
		beside, err := objects.Beside(e.Attrs["ref"])
		if !on || err != nil {
			continue // The builder reports an invalid name.
		}
		insecure, _ := strconv.ParseBool(e.Attrs[insecureKey])
		refs = append(refs, objects.Ref{Name: beside, Insecure: insecure})
	}
	return refs, limit, nil
}

// full adds the type to plain names and the mode to exports without one.
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

// snapshotterLabel is a label on the worker of an engine with containerd's image store.
const snapshotterLabel = "org.mobyproject.buildkit.worker.snapshotter"

// Takes returns an error, before anything is built, if the builder does not support these
// caches or this output. BuildKit in an engine with graphdrivers has inline caches only, and
// exports only to that engine. Old versions would fail at the end of the build.
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
		return fault.New(fault.Machine, "the Docker engine's BuildKit exports images only to its engine", errors.New("the engine stores images in a graphdriver"),
			"use another builder (--builder managed, unix://… or docker-container://…), or switch the engine to containerd's image store")
	}
	if !slices.ContainsFunc(c.Exports, func(e client.CacheOptionsEntry) bool { return e.Type != "inline" }) && !slices.ContainsFunc(c.Imports, other) {
		return nil
	}
	return fault.New(fault.Machine, "the Docker engine's BuildKit does not support this cache", errors.New("the engine stores images in a graphdriver, which supports inline caches only"),
		"use another builder (--builder managed, unix://… or docker-container://…), or switch the engine to containerd's image store")
}
