package app

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/llb/base"
	"github.com/llorch/llorch-bk/llb/buildkit"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// localBase returns the base image that setup bootstrapped on this machine, if it did. A
// builder apart from the engine cannot see the engine's images, so it gets the base.
func (a *App) localBase(ctx context.Context, arch string, docker *client.Client, apart bool) (*buildkit.LocalBase, error) {
	cache, err := a.CacheDir()
	if err != nil {
		return nil, err
	}
	find := func() (base.Base, bool, error) { return base.Find(basesDir(cache), base.DefaultSuite, arch) }
	if apart && docker != nil {
		find = func() (base.Base, bool, error) {
			return base.Take(ctx, basesDir(cache), base.DefaultSuite, arch, docker)
		}
	}
	found, ok, err := find()
	if err != nil || !ok {
		return nil, err
	}
	store, err := found.Store()
	if err != nil {
		return nil, err
	}
	config, err := content.ReadBlob(ctx, store, ocispec.Descriptor{Digest: found.ConfigDigest})
	if err != nil {
		return nil, fmt.Errorf("cannot read the config of %s: %w", found.Ref, err)
	}
	return &buildkit.LocalBase{
		Ref: found.Ref, Manifest: found.Manifest.Digest, Store: store, Config: config,
		Load: func(ctx context.Context) error { return found.LoadInto(ctx, docker) },
	}, nil
}

func basesDir(cache string) string { return filepath.Join(cache, "bases") }
