package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/docker/docker/client"
	"github.com/docker/go-units"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine/docker"
	"github.com/llorch/llorch-bk/runtime/pool"
)

// PruneKinds are what prune knows, in the order in which it goes about it.
var PruneKinds = []string{pool.KindBuilders, pool.KindImages, pool.KindVolumes, pool.KindCaches}

// PruneOptions say what is to be removed.
type PruneOptions struct {
	// Kinds are some of PruneKinds; none means all.
	Kinds []string
	// Yes removes without asking, DryRun only says what there is.
	Yes, DryRun bool
}

// Leftover is one thing that this program left on this machine and that nothing
// uses now.
type Leftover struct {
	// Kind is one of PruneKinds.
	Kind string `json:"kind"`
	// Name is what it is called, or where it is.
	Name string `json:"name"`
	// Bytes is what it takes; 0 where that is not known.
	Bytes int64 `json:"bytes,omitempty"`
	// Why it can go, and Note for what more there is to know.
	Why  string `json:"why"`
	Note string `json:"note,omitempty"`
	// Removed is true once it is gone.
	Removed bool `json:"removed"`

	remove func(context.Context) error
}

// Prune finds what nothing uses, asks, and removes it. What could not be
// removed is an error after all the rest.
func (a *App) Prune(ctx context.Context, opt PruneOptions) ([]Leftover, error) {
	for _, k := range opt.Kinds {
		if !slices.Contains(PruneKinds, k) {
			return nil, fault.New(fault.Usage, fmt.Sprintf("prune knows no %q", k), nil, "it takes "+strings.Join(PruneKinds, ", "))
		}
	}
	api, closeIt := a.maybeEngine(ctx)
	defer closeIt()
	found, err := a.leftovers(ctx, api, opt.Kinds)
	if err != nil || len(found) == 0 || opt.DryRun {
		return found, interrupted(ctx, err)
	}
	if !opt.Yes {
		ok, err := a.askPrune(ctx, found)
		if err != nil || !ok {
			return found, interrupted(ctx, err)
		}
	}
	var failed []error
	for i := range found {
		if ctx.Err() != nil {
			return found, interrupted(ctx, context.Cause(ctx))
		}
		if err := found[i].remove(ctx); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", found[i].Name, err))
			continue
		}
		found[i].Removed = true
	}
	if len(failed) > 0 {
		return found, interrupted(ctx, fault.New(fault.Machine, "not everything could be removed", errors.Join(failed...), "see what uses it, and repeat the command"))
	}
	return found, nil
}

// leftovers are what can go, with how each is removed.
func (a *App) leftovers(ctx context.Context, api *client.Client, kinds []string) ([]Leftover, error) {
	wants := func(kind string) bool { return len(kinds) == 0 || slices.Contains(kinds, kind) }
	var stock pool.Stock
	removers := map[string]func(context.Context) error{}
	var err error
	if wants(pool.KindBuilders) {
		stock.Builders, err = a.stockBuilders(ctx, api, removers)
	}
	if err == nil && api != nil && (wants(pool.KindImages) || wants(pool.KindVolumes)) {
		stock.Engine, err = docker.Stock(ctx, api)
	}
	if err == nil && wants(pool.KindCaches) {
		stock.Caches, err = a.stockCaches()
	}
	if err != nil {
		return nil, err
	}
	var out []Leftover
	for _, l := range pool.Prune(stock) {
		if !wants(l.Kind) {
			continue
		}
		remove := removers[l.ID]
		switch l.Kind {
		case pool.KindImages:
			remove = func(ctx context.Context) error { return docker.RemoveImage(ctx, api, l.ID) }
		case pool.KindVolumes:
			remove = func(ctx context.Context) error { return docker.RemoveVolume(ctx, api, l.ID) }
		case pool.KindCaches:
			remove = func(context.Context) error { return os.RemoveAll(l.ID) }
		}
		out = append(out, Leftover{Kind: l.Kind, Name: l.Name, Bytes: l.Bytes, Why: l.Why, Note: l.Note, remove: remove})
	}
	return out, nil
}

// stockBuilders are the builders, and into removers how each is removed.
func (a *App) stockBuilders(ctx context.Context, api *client.Client, removers map[string]func(context.Context) error) ([]pool.Builder, error) {
	m, err := a.manager(api, nil)
	if err != nil {
		return nil, err
	}
	states, err := m.States(ctx)
	if err != nil {
		return nil, err
	}
	var out []pool.Builder
	for _, s := range states {
		b := pool.Builder{Where: s.Where, Kind: s.Kind, Running: s.Running, Bytes: s.Bytes}
		if !s.Running && s.Kind == "process" {
			b.Bytes = size(s.Where)
		}
		removers[s.Where] = func(ctx context.Context) error { return m.Remove(ctx, s) }
		out = append(out, b)
	}
	return out, nil
}

// stockCaches are what can be made again, but for the builder, which has a kind
// of its own, and locks, which others may hold.
func (a *App) stockCaches() ([]pool.Cache, error) {
	cache, err := a.CacheDir()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(cache)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.New(fault.Machine, "the cache folder cannot be read", err, "check LLORCH_CACHE_DIR")
	}
	var out []pool.Cache
	for _, e := range entries {
		path := filepath.Join(cache, e.Name())
		if note, ours := cacheNotes[e.Name()]; ours {
			out = append(out, pool.Cache{Path: path, Bytes: size(path), Note: note})
		}
	}
	return out, nil
}

// cacheNotes are the folders of the cache that prune removes, and what they are.
var cacheNotes = map[string]string{
	"sources": "checked-out trees",
	"bases":   "bootstrapped base images",
	"bundle":  "what bundles have brought; builds without a network need it",
	"demo":    "what make demo fetched",
	// Of the project's own tests.
	"programs": "compiled engines",
}

// size is what a folder takes; what cannot be read counts for nothing.
func size(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil
	})
	return sum
}

// PrintLeftovers lists them with their sizes.
func PrintLeftovers(out io.Writer, all []Leftover) {
	tw := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	var sum int64
	for _, l := range all {
		bytes := "-"
		if l.Bytes > 0 {
			bytes = units.HumanSize(float64(l.Bytes))
		}
		sum += l.Bytes
		note := l.Note
		if note == "" {
			note = l.Why
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", strings.TrimSuffix(l.Kind, "s"), bytes, l.Name, note)
	}
	fmt.Fprintf(tw, "all\t%s\t\t\n", units.HumanSize(float64(sum)))
	_ = tw.Flush()
}

// askPrune shows what would go and takes the person's answer.
func (a *App) askPrune(ctx context.Context, found []Leftover) (bool, error) {
	PrintLeftovers(a.Err, found)
	if !atTerminal() {
		return false, fault.New(fault.Usage, "nothing was removed", errors.New("there is no terminal to ask at"), "say --yes to remove all of the above")
	}
	fmt.Fprint(a.Err, "Remove all of it? [y/N] ")
	return answer(ctx)
}
