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

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"github.com/docker/go-units"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

// PruneKinds are what prune knows, in the order in which it goes about it.
var PruneKinds = []string{"builders", "images", "volumes", "caches"}

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
	// Note says more about it.
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
	docker, closeIt := a.maybeEngine(ctx)
	defer closeIt()
	found, err := a.leftovers(ctx, docker, opt.Kinds)
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

func (a *App) leftovers(ctx context.Context, docker *client.Client, kinds []string) ([]Leftover, error) {
	wants := func(kind string) bool { return len(kinds) == 0 || slices.Contains(kinds, kind) }
	var out []Leftover
	add := func(more []Leftover, err error) error { out = append(out, more...); return err }
	if wants("builders") {
		if err := add(a.leftBuilders(ctx, docker)); err != nil {
			return nil, err
		}
	}
	if wants("images") && docker != nil {
		if err := add(leftImages(ctx, docker)); err != nil {
			return nil, err
		}
	}
	if wants("volumes") && docker != nil {
		if err := add(leftVolumes(ctx, docker)); err != nil {
			return nil, err
		}
	}
	if wants("caches") {
		if err := add(a.leftCaches()); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (a *App) leftBuilders(ctx context.Context, docker *client.Client) ([]Leftover, error) {
	m, err := a.manager(docker, nil)
	if err != nil {
		return nil, err
	}
	states, err := m.States(ctx)
	if err != nil {
		return nil, err
	}
	var out []Leftover
	for _, s := range states {
		l := Leftover{Kind: "builders", Name: s.Where, Bytes: s.Bytes, Note: "a " + s.Kind, remove: func(ctx context.Context) error { return m.Remove(ctx, s) }}
		if !s.Running {
			l.Note += ", stopped"
			if s.Kind == "process" {
				l.Bytes = size(s.Where)
			}
		}
		out = append(out, l)
	}
	return out, nil
}

// leftImages are those that were built here and that no container is made of.
func leftImages(ctx context.Context, docker *client.Client) ([]Leftover, error) {
	list, err := docker.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("label", images.LabelRecipe))})
	if err != nil {
		return nil, fault.New(fault.Machine, "the engine's images cannot be listed", err, "look at its log")
	}
	containers, err := docker.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return nil, fault.New(fault.Machine, "the engine's containers cannot be listed", err, "look at its log")
	}
	var out []Leftover
	for _, img := range list {
		if slices.ContainsFunc(containers, func(c container.Summary) bool { return c.ImageID == img.ID }) {
			continue
		}
		l := Leftover{Kind: "images", Name: img.ID, Bytes: img.Size, remove: func(ctx context.Context) error {
			// By id and with force all of its names go, and no container has it.
			_, err := docker.ImageRemove(ctx, img.ID, image.RemoveOptions{Force: true, PruneChildren: true})
			return err
		}}
		if len(img.RepoTags) > 0 {
			l.Name = strings.Join(img.RepoTags, " ")
		}
		out = append(out, l)
	}
	return out, nil
}

// leftVolumes are models' and that no container has mounted.
func leftVolumes(ctx context.Context, docker *client.Client) ([]Leftover, error) {
	list, err := docker.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", engine.LabelRole+"="+engine.RoleModel), filters.Arg("dangling", "true"))})
	if err != nil {
		return nil, fault.New(fault.Machine, "the engine's volumes cannot be listed", err, "look at its log")
	}
	var out []Leftover
	for _, v := range list.Volumes {
		l := Leftover{Kind: "volumes", Name: v.Name, remove: func(ctx context.Context) error { return docker.VolumeRemove(ctx, v.Name, false) }}
		if v.Options["device"] != "" {
			l.Note = "shows " + v.Options["device"] + ", which stays"
		}
		out = append(out, l)
	}
	return out, nil
}

// leftCaches are what can be made again, but for the builder, which has a kind
// of its own, and locks, which others may hold.
func (a *App) leftCaches() ([]Leftover, error) {
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
	var out []Leftover
	for _, e := range entries {
		note, ours := cacheNotes[e.Name()]
		path := filepath.Join(cache, e.Name())
		if ours {
			out = append(out, Leftover{Kind: "caches", Name: path, Bytes: size(path), Note: note, remove: func(context.Context) error { return os.RemoveAll(path) }})
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
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", strings.TrimSuffix(l.Kind, "s"), bytes, l.Name, l.Note)
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
