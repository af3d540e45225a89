package buildkit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// lockedBases are the bases of a lock, each by its digest, with the settings that only
// the image itself has. One that cannot be had as locked is a fault that names its part.
func (b *Builder) lockedBases(ctx context.Context, gw gateway.Client, q Query, f *Facts, steps, on *ocispec.Platform) error {
	for _, base := range []struct {
		part   string
		locked images.BaseFacts
		of     *ocispec.Platform
		to     *images.BaseFacts
	}{
		{"build_base", q.Locked.Build, steps, &f.Build},
		{"runtime_base", q.Locked.Runtime, on, &f.Runtime},
		{"accelerator_base", q.Locked.Accelerator, on, &f.Accelerator},
	} {
		if base.locked.Ref == "" {
			continue
		}
		got, err := b.locked(ctx, gw, q, f, base.locked, base.of)
		if denied := b.Policy.Explain(err); denied != nil {
			return denied
		}
		var known *fault.Fault
		if errors.As(err, &known) {
			return err
		}
		if err != nil {
			return fault.New(fault.Machine, fmt.Sprintf("the %s of the lock cannot be had: %s@%s", base.part, familiar(base.locked.Ref), base.locked.Digest), errors.New(reason(err)),
				"take another with llorch-bk lock --update base, or a mirror that keeps it")
		}
		*base.to = got
	}
	return nil
}

func (b *Builder) locked(ctx context.Context, gw gateway.Client, q Query, f *Facts, base images.BaseFacts, platform *ocispec.Platform) (images.BaseFacts, error) {
	if q.Kept.Images != nil {
		return b.kept(f.Capabilities, q, base, platform)
	}
	if base.Layout {
		if q.Local == nil || q.Local.Ref != base.Ref {
			return base, errors.New("it was bootstrapped on a machine, and is not on this one")
		}
		if q.Local.Manifest.String() != base.Digest {
			return base, fmt.Errorf("the one of this machine is %s", q.Local.Manifest)
		}
		return b.localBase(ctx, gw, f.Capabilities, *q.Local)
	}
	name, _, _ := strings.Cut(base.Ref, "@")
	got, err := resolve(ctx, gw, name+"@"+base.Digest, platform, "default")
	got.Ref = base.Ref
	return got, err
}

// kept is a base that this machine keeps.
func (b *Builder) kept(caps llb.Capabilities, q Query, base images.BaseFacts, platform *ocispec.Platform) (images.BaseFacts, error) {
	if !caps.OCILayout {
		return base, fault.New(fault.Machine, b.String()+" takes no base image from this machine", errors.New("it is older than BuildKit 0.12"),
			"use one that does: --builder managed")
	}
	config, err := q.Kept.Config(base.Digest)
	if err != nil {
		return base, err
	}
	got := images.BaseFacts{Ref: base.Ref, Digest: base.Digest, Layout: base.Layout}
	return got, readConfig(&got, config, platform)
}
