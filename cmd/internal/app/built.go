package app

import (
	"context"
	"fmt"
	"slices"

	"github.com/docker/docker/client"
	"github.com/docker/go-units"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb/buildkit"
	"github.com/llorch/llorch-bk/llb/objects"
)

// Built is an image that is in the engine.
type Built struct {
	// ID is the engine's id of the image; empty where it went elsewhere.
	ID string `json:"id,omitempty"`
	// Tags are its names, as people type them.
	Tags []string `json:"tags"`
	// Reused is true where nothing was built because it was there.
	Reused bool `json:"reused,omitempty"`
	// Digest is what the builder calls the image: its manifest's digest, or on an
	// engine with graphdrivers its id.
	Digest string `json:"digest,omitempty"`
	// Signatures are what was put beside the image, one in each repository.
	Signatures []Signed `json:"signatures,omitempty"`
	// Steps are what the build ran and what it found done, the slowest first.
	Steps []buildkit.Step `json:"steps,omitempty"`
	// Layers are the image's, the lowest first.
	Layers []Layer `json:"layers,omitempty"`
	// Notes are what the image says of how it was compiled, if anything.
	Notes []string `json:"notes,omitempty"`
	// Objects is what was carried from and to a registry's compiler cache, if anything.
	Objects *objects.Report `json:"objects,omitempty"`
	Plan    images.Plan     `json:"plan,omitzero"`
	// Plans are those of all platforms, where the image is an index of several.
	Plans []images.Plan `json:"plans,omitempty"`
}

// Layer is a layer of an image, or what all layers of its base are together.
type Layer struct {
	Name string `json:"name"`
	// Bytes is what it takes unpacked.
	Bytes int64 `json:"bytes"`
}

// layers are an image's by the names of those that were added to its base; nil
// where the engine's history does not tell.
func layers(ctx context.Context, docker *client.Client, id string, added []string) []Layer {
	history, err := docker.ImageHistory(ctx, id)
	if err != nil {
		return nil
	}
	var sizes []int64
	// The newest comes first, with entries that made no layer in between.
	for _, h := range slices.Backward(history) {
		if h.Size > 0 {
			sizes = append(sizes, h.Size)
		}
	}
	at := len(sizes) - len(added)
	if at < 0 {
		return nil
	}
	var out []Layer
	if at > 0 {
		out = []Layer{{Name: "base"}}
	}
	for _, size := range sizes[:at] {
		out[0].Bytes += size
	}
	for i, name := range added {
		out = append(out, Layer{Name: name, Bytes: sizes[at+i]})
	}
	return out
}

// Compiled are the parts that were compiled, with their times, and those that
// were there already.
func (b Built) Compiled() (ran, cached []string) {
	for _, s := range b.Steps {
		part, ok := s.Compiles()
		if s.Platform != "" {
			part += " (" + s.Platform + ")"
		}
		switch {
		case ok && s.Cached:
			cached = append(cached, part)
		case ok:
			ran = append(ran, fmt.Sprintf("%s %.1fs", part, s.Seconds))
		}
	}
	return ran, cached
}

// CompilerCache says how many of the compiles were in the compiler cache; empty where
// nothing was compiled.
func (b Built) CompilerCache() string {
	var sum buildkit.Objects
	for _, s := range b.Steps {
		if s.Objects != nil {
			sum.Compiles += s.Objects.Compiles
			sum.Cached += s.Objects.Cached
			sum.Carried += s.Objects.Carried
		}
	}
	if sum.Compiles == 0 {
		return ""
	}
	text := fmt.Sprintf("%d of %d compiles from the compiler cache", sum.Cached, sum.Compiles)
	if sum.Carried > 0 && b.Objects != nil {
		text += fmt.Sprintf(", %d of them from %s (%s)", sum.Carried, b.Objects.From, units.HumanSize(float64(b.Objects.Pulled)))
	}
	return text
}

// String is the image as one would name it.
func (b Built) String() string {
	if len(b.Tags) > 0 {
		return b.Tags[0]
	}
	return b.ID
}
