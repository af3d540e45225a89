package buildkit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// platformsOf are the platforms whose programs a builder can run, its machine's own
// first: those of the worker that builds, without an architecture's variants. A BuildKit
// puts behind its own those that the kernel runs by an emulator.
func platformsOf(workers []*client.WorkerInfo) []string {
	if len(workers) == 0 {
		return nil
	}
	var out []string
	for _, p := range workers[0].Platforms {
		if name := platformName(p); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func platformName(p ocispec.Platform) string { return p.OS + "/" + p.Architecture }

// Platform is the platform that the builder's steps run on, as linux/amd64; empty for a
// builder that does not say.
func (b *Builder) Platform() string {
	if len(b.platforms) == 0 {
		return ""
	}
	return b.platforms[0]
}

// Runs says whether the builder can run a platform's programs.
func (b *Builder) Runs(platform string) bool { return slices.Contains(b.platforms, platform) }

// platformOf is a platform's name, as linux/amd64, in parts.
func platformOf(name string) *ocispec.Platform {
	os, arch, _ := strings.Cut(name, "/")
	return &ocispec.Platform{OS: os, Architecture: arch}
}

// errPlatform says that an image is for another platform than the wanted one. A name that
// stands for one image gives that image, whatever platform is asked for.
var errPlatform = errors.New("it is an image for another platform")

func checkPlatform(got ocispec.Platform, want *ocispec.Platform) error {
	if want == nil || got.Architecture == "" || got.OS == want.OS && got.Architecture == want.Architecture {
		return nil
	}
	return fmt.Errorf("%w: for %s, and %s is wanted", errPlatform, platformName(got), platformName(*want))
}
