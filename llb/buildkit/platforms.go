package buildkit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// platformsOf are the platforms whose programs a builder can run, without architecture
// variants. The first is the machine's own; the kernel runs the others in an emulator.
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

// Platform is the platform that the builder's steps run on, such as linux/amd64; empty if
// the builder does not report it.
func (b *Builder) Platform() string {
	if len(b.platforms) == 0 {
		return ""
	}
	return b.platforms[0]
}

// Runs reports whether the builder can run a platform's programs.
func (b *Builder) Runs(platform string) bool { return slices.Contains(b.platforms, platform) }

// platformOf parses a platform's name, such as linux/amd64.
func platformOf(name string) *ocispec.Platform {
	os, arch, _ := strings.Cut(name, "/")
	return &ocispec.Platform{OS: os, Architecture: arch}
}

// errPlatform means that an image is for another platform. A name that refers to a single
// image returns that image, whatever platform was requested.
var errPlatform = errors.New("the image is for another platform")

func checkPlatform(got ocispec.Platform, want *ocispec.Platform) error {
	if want == nil || got.Architecture == "" || got.OS == want.OS && got.Architecture == want.Architecture {
		return nil
	}
	return fmt.Errorf("%w: got %s, want %s", errPlatform, platformName(got), platformName(*want))
}
