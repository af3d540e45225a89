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

// lockedBases looks up a lock's base images by digest, with settings that only the images
// have. If one is unavailable, the error is a fault that names its field.
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
			return fault.New(fault.Machine, fmt.Sprintf("cannot pull the lock's %s %s@%s", base.part, shortRef(base.locked.Ref), base.locked.Digest), errors.New(reason(err)),
				"lock the current base with llorch-bk lock --update base, or use a mirror that still has this one")
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
			return base, errors.New("it was bootstrapped on another machine")
		}
		if q.Local.Manifest.String() != base.Digest {
			return base, fmt.Errorf("this machine bootstrapped %s", q.Local.Manifest)
		}
		return b.localBase(ctx, gw, f.Capabilities, *q.Local)
	}
	name, _, _ := strings.Cut(base.Ref, "@")
	got, err := resolve(ctx, gw, name+"@"+base.Digest, platform, "default")
	got.Ref = base.Ref
	return got, err
}

// kept is a base image that is stored on this machine.
func (b *Builder) kept(caps llb.Capabilities, q Query, base images.BaseFacts, platform *ocispec.Platform) (images.BaseFacts, error) {
	if !caps.OCILayout {
		return base, fault.New(fault.Machine, b.String()+" does not accept a base image from this machine", errors.New("it is older than BuildKit 0.12"),
			"use a newer builder: --builder managed")
	}
	config, err := q.Kept.Config(base.Digest)
	if err != nil {
		return base, err
	}
	got := images.BaseFacts{Ref: base.Ref, Digest: base.Digest, Layout: base.Layout}
	return got, readConfig(&got, config, platform)
}
