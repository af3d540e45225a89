package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/fixtures/llamasrc"
)

// runner builds on empty builders, like ephemeral runners: first the release before the
// pinned one, which fills a registry's cache; then the pinned one, which reads and writes the
// cache, as a push does; then the pinned one with one line changed in each part.
func runner(ctx context.Context, b *bench) error {
	cache := b.registry.cache()
	before := llamasrc.Releases[len(llamasrc.Releases)-2]
	old, err := bundleOf(ctx, before)
	if err != nil {
		return err
	}
	if err := errors.Join(b.restore(ctx), b.empty(ctx)); err != nil {
		return err
	}
	took, _, err := b.build(ctx, "--no-ui", "--source", old, "--ref", before.Commit, "--cpu", "portable", "--cache-to", cache)
	if err != nil {
		return err
	}
	b.table.set("filling the registry's cache", took)
	if err := b.onRunner(ctx, "from "+before.Release+" to "+llamasrc.Pinned.Release, "--cache-from", cache, "--cache-to", cache); err != nil {
		return err
	}
	for i, p := range parts {
		if err := errors.Join(b.restore(ctx), b.edit(ctx, p.file, 100+i)); err != nil {
			return err
		}
		if err := b.onRunner(ctx, "one line in "+p.name, "--cache-from", cache); err != nil {
			return err
		}
	}
	return b.restore(ctx)
}

// onRunner builds on an empty builder, for a row of the table.
func (b *bench) onRunner(ctx context.Context, what string, caches ...string) error {
	if err := b.empty(ctx); err != nil {
		return err
	}
	took, compiled, err := b.ours(ctx, "portable", caches...)
	if err != nil {
		return err
	}
	row := what + ", empty builder"
	b.table.set(row, took)
	b.table.note(row, strings.Join(compiled, " "))
	return nil
}

// locked builds from a lock with everything cached. It takes the median of three.
func locked(ctx context.Context, b *bench) error {
	if err := b.restore(ctx); err != nil {
		return err
	}
	lock := filepath.Join(b.dir, "llorch.lock")
	if err := command(ctx, "", "bin/llorch-bk", "lock", "--no-ui", "--builder", b.builder.Addr, "--source", b.repo, "--ref", "HEAD", "--cpu", "native", "--lock", lock); err != nil {
		return err
	}
	if _, _, err := b.build(ctx, "--locked="+lock); err != nil {
		return err
	}
	var times []time.Duration
	for range 3 {
		took, _, err := b.build(ctx, "--locked="+lock)
		if err != nil {
			return err
		}
		times = append(times, took)
	}
	slices.Sort(times)
	b.table.set("nothing changed, --locked", times[1])
	return nil
}
