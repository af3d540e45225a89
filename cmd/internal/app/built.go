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

// Built is the result of a build.
type Built struct {
	// ID is the engine's id of the image; empty if the image was sent elsewhere.
	ID string `json:"id,omitempty"`
	// Tags are the image's names in their short form.
	Tags []string `json:"tags"`
	// Reused is true if a matching image existed and nothing was built.
	Reused bool `json:"reused,omitempty"`
	// Digest is the builder's digest of the image: the manifest's, or the image id on an
	// engine with graphdrivers.
	Digest string `json:"digest,omitempty"`
	// Signatures are the signatures that were pushed, one for each repository.
	Signatures []Signed `json:"signatures,omitempty"`
	// Steps are the build's steps, run or cached, slowest first.
	Steps []buildkit.Step `json:"steps,omitempty"`
	// Layers are the image's layers, lowest first.
	Layers []Layer `json:"layers,omitempty"`
	// Notes are the image's own notes about how it was compiled.
	Notes []string `json:"notes,omitempty"`
	// Objects reports the transfer of compiler objects from and to a registry.
	Objects *objects.Report `json:"objects,omitempty"`
	Plan    images.Plan     `json:"plan,omitzero"`
	// Plans has a plan for each platform if the image is an index.
	Plans []images.Plan `json:"plans,omitempty"`
}

// Layer is one layer of an image, or all layers of its base together.
type Layer struct {
	Name string `json:"name"`
	// Bytes is the unpacked size.
	Bytes int64 `json:"bytes"`
}

// layers returns the layers that were added to the base, by name, and the base as one
// layer; nil if the engine's history does not match.
func layers(ctx context.Context, docker *client.Client, id string, added []string) []Layer {
	history, err := docker.ImageHistory(ctx, id)
	if err != nil {
		return nil
	}
	var sizes []int64
	// History is newest first, with entries that made no layer.
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

// Compiled returns the parts that were compiled, with their times, and the parts that were
// cached.
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

// CompilerCache describes the compiler cache's hits; empty if nothing was compiled.
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

// String is the image's first tag, or its id.
func (b Built) String() string {
	if len(b.Tags) > 0 {
		return b.Tags[0]
	}
	return b.ID
}
