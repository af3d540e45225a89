package gguf

import "slices"

// Role is what a GGUF is for.
type Role string

// The roles. Only a Model can be served alone.
const (
	Model     Role = "a model"
	Projector Role = "a projector (mmproj), which belongs to a model"
	Draft     Role = "a draft model, which belongs to a larger one"
	Adapter   Role = "an adapter (LoRA), which belongs to a model"
	Imatrix   Role = "an importance matrix, which is no model"
)

// draftArchitectures are those of networks that only draft tokens for another (llama.cpp's
// llama-arch.cpp, common/speculative.cpp).
var draftArchitectures = []string{"eagle3", "dflash", "dspark", "gemma4-assistant"}

// Role is what the file is for, by its header.
func (f Facts) Role() Role {
	switch {
	case f.Type == "imatrix":
		return Imatrix
	case f.Type == "adapter":
		return Adapter
	case f.Type == "mmproj", f.Architecture == "clip":
		return Projector
	case slices.Contains(draftArchitectures, f.Architecture):
		return Draft
	// llama.cpp tells a file with nothing but a model's draft heads in this way.
	case f.draft && !f.firstBlock && f.Split.Count < 2:
		return Draft
	}
	return Model
}

// IsWhole reports whether the header proves that the file is a model: its network begins
// in it.
func (f Facts) IsWhole() bool { return f.Role() == Model && f.firstBlock }
