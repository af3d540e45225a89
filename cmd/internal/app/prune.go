package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/builder"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/engine/docker"
	"github.com/llorch/llorch-bk/runtime/pool"
)

// PruneKinds are what prune knows, in the order in which it deletes them.
var PruneKinds = pool.Kinds

// PruneOptions say what is to be removed.
type PruneOptions struct {
	// Kinds are some of PruneKinds; none means all.
	Kinds []string
	// Yes removes without asking, DryRun only says what there is.
	Yes, DryRun bool
}

// Prune plans what to delete, asks, and carries the plan out. It returns what the plan
// is about. The error names what could not be removed, after everything else was.
func (a *App) Prune(ctx context.Context, opt PruneOptions) ([]Leftover, error) {
	for _, k := range opt.Kinds {
		if !slices.Contains(PruneKinds, k) {
			return nil, fault.New(fault.Usage, fmt.Sprintf("prune knows no %q", k), nil, "it takes "+strings.Join(PruneKinds, ", "))
		}
	}
	api, closeIt := a.maybeEngine(ctx)
	defer closeIt()
	p := &pruner{api: api}
	stock, err := a.stock(ctx, p, opt.Kinds)
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	plan := pool.Prune(opt.Kinds, stock)
	if len(plan.Ops) == 0 || opt.DryRun {
		return p.leftovers(plan), nil
	}
	if !opt.Yes {
		PrintLeftovers(a.Err, p.leftovers(plan))
		if ok, err := a.confirmRemoval(ctx); err != nil || !ok {
			return p.leftovers(plan), err
		}
	}
	if _, err = plan.Execute(ctx, p); err != nil {
		err = interrupted(ctx, fault.New(fault.Machine, "not everything could be removed", err, ""))
	}
	return p.leftovers(plan), err
}

// pruner carries out the operations of prune plans. It decides nothing.
type pruner struct {
	// api is the engine; nil for none, and then no plan is about what is in one.
	api      *client.Client
	builders builder.Manager
	// states are the builders by where they are.
	states map[string]builder.State
	// deleted is what is gone.
	deleted map[*pool.Leftover]bool
}

// Do implements pool.Doer.
func (p *pruner) Do(ctx context.Context, op pool.Op) (engine.Server, error) {
	if op.Do != pool.Delete || op.Leftover == nil {
		return engine.Server{}, fmt.Errorf("prune has no operation %q", op.Do)
	}
	err := p.remove(ctx, *op.Leftover)
	if err == nil {
		if p.deleted == nil {
			p.deleted = map[*pool.Leftover]bool{}
		}
		p.deleted[op.Leftover] = true
	}
	return engine.Server{}, err
}

// Turn implements pool.Doer. A prune plan does nothing in another operation's place.
func (p *pruner) Turn(pool.Op, error) {}

func (p *pruner) remove(ctx context.Context, l pool.Leftover) error {
	switch l.Kind {
	case pool.KindBuilders:
		return p.builders.Remove(ctx, p.states[l.ID])
	case pool.KindImages:
		return docker.RemoveImage(ctx, p.api, l.ID)
	case pool.KindVolumes:
		return docker.RemoveVolume(ctx, p.api, l.ID)
	case pool.KindCaches:
		return os.RemoveAll(l.ID)
	}
	return fmt.Errorf("prune cannot remove %s", l.Kind)
}

// leftovers are what a plan is about, and whether it is gone.
func (p *pruner) leftovers(plan pool.Plan) []Leftover {
	var out []Leftover
	for _, l := range plan.Leftovers() {
		out = append(out, Leftover{Kind: l.Kind, Name: l.Name, Bytes: l.Bytes, Why: l.Why, Note: l.Note, Removed: p.deleted[l]})
	}
	return out
}

// stock is what llorch-bk left on this machine, of the kinds that are asked for.
func (a *App) stock(ctx context.Context, p *pruner, kinds []string) (s pool.Stock, err error) {
	wants := func(kind string) bool { return len(kinds) == 0 || slices.Contains(kinds, kind) }
	if wants(pool.KindBuilders) {
		if s.Builders, err = a.stockBuilders(ctx, p); err != nil {
			return s, err
		}
	}
	if p.api != nil && (wants(pool.KindImages) || wants(pool.KindVolumes)) {
		if s.Engine, err = docker.Stock(ctx, p.api); err != nil {
			return s, err
		}
	}
	if wants(pool.KindCaches) {
		s.Caches, err = a.stockCaches()
	}
	return s, err
}

// stockBuilders are the managed builders. The pruner learns how to remove them.
func (a *App) stockBuilders(ctx context.Context, p *pruner) (out []pool.Builder, err error) {
	if p.builders, err = a.manager(p.api, nil); err != nil {
		return nil, err
	}
	states, err := p.builders.States(ctx)
	if err != nil {
		return nil, err
	}
	p.states = map[string]builder.State{}
	for _, s := range states {
		b := pool.Builder{Where: s.Where, Kind: s.Kind, Running: s.Running, Bytes: s.Bytes}
		if !s.Running && s.Kind == builder.KindProcess {
			b.Bytes = size(s.Where)
		}
		p.states[s.Where] = s
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
	"hashes":  "hashes of files; they are read again",
	"help":    "flags of the servers in images; they are asked again",
	"tried":   "which downloaded models were tried alone; they are tried again",
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
