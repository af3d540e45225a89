package registry

import (
	"encoding/json"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// isWeights reports whether a layer can be a GGUF file of a model. The tools that make
// such artifacts name the type of the layer, the file, or both:
//
//   - Docker's model-spec: application/vnd.docker.ai.gguf.v3, before that
//     application/vnd.docker.ai.model.file.v1+gguf; a projector has a type of its own.
//   - CNCF's ModelPack: application/vnd.cncf.model.weight.v1.raw and the file's path. Docker
//     Model Runner writes ….v1.gguf in its place.
//   - Ollama: application/vnd.ollama.image.model, and no name.
//   - oras push and podman artifact add: whatever the user says, by default
//     application/vnd.oci.image.layer.v1.tar or application/octet-stream, with the file's
//     name as title. The layer is the file itself, no archive.
func isWeights(l v1.Descriptor) bool {
	kind := strings.ToLower(string(l.MediaType))
	name := strings.ToLower(saidPath(l))
	isFile := strings.HasSuffix(name, ".gguf")
	switch {
	case belongsToModel(kind):
		return false
	case kind == "application/vnd.ollama.image.model", strings.Contains(kind, "gguf"):
		return true
	case isArchive(kind):
		return false
	case strings.HasPrefix(kind, "application/vnd.cncf.model.weight.v") && strings.HasSuffix(kind, ".raw"):
		return isFile || path.Ext(name) == ""
	}
	return isFile
}

// belongsToModel reports whether a type is of a file that a model has beside its weights,
// though it may be a GGUF.
func belongsToModel(kind string) bool {
	return slices.ContainsFunc([]string{"mmproj", "projector", "adapter", "lora", "imatrix"}, func(word string) bool { return strings.Contains(kind, word) })
}

// isArchive reports whether a layer of a type has to be unpacked. The plain type of an
// image's layer is also what oras gives to any file.
func isArchive(kind string) bool {
	if strings.HasSuffix(kind, "+gzip") || strings.HasSuffix(kind, "+zstd") || strings.HasSuffix(kind, ".gzip") {
		return true
	}
	return strings.HasSuffix(kind, ".tar") && kind != "application/vnd.oci.image.layer.v1.tar"
}

// The annotations that say a layer's file, the first one first, and ModelPack's, whose
// value is JSON.
var pathKeys = []string{"org.cncf.model.filepath", "org.opencontainers.image.title"}

const metadataKey = "org.cncf.model.file.metadata+json"

// saidPath is the path of a layer's file, as the artifact says it; empty where it does not.
func saidPath(l v1.Descriptor) string {
	for _, key := range pathKeys {
		if said := l.Annotations[key]; said != "" {
			return said
		}
	}
	var file struct {
		Name string `json:"name"`
	}
	if json.Unmarshal([]byte(l.Annotations[metadataKey]), &file) != nil {
		return ""
	}
	return file.Name
}

// saidName is saidPath where it can be the path of a file in the store, else empty.
func saidName(l v1.Descriptor) string {
	said := path.Clean(saidPath(l))
	if path.IsAbs(said) {
		said = path.Base(said)
	}
	if !strings.HasSuffix(said, ".gguf") || !ref.IsName(path.Base(said)) || !ref.CleanRelative(said) {
		return ""
	}
	return said
}

// fileNames names the files of a model's layers, so that llama.cpp finds all of them by
// the first: as the layers say where that is so, else by base and their order.
func fileNames(base string, layers []v1.Descriptor) []string {
	said := make([]string, len(layers))
	for i, l := range layers {
		if name := saidName(l); name != "" {
			said[i] = path.Base(name)
		}
	}
	if len(layers) == 1 {
		if _, shard := gguf.ShardOf(said[0]); said[0] != "" && !shard && gguf.IsModel(said[0]) {
			return said
		}
		return []string{base + ".gguf"}
	}
	if isRow(said) {
		return said
	}
	return gguf.ShardNames(base, len(layers))
}

// isRow reports whether names are those of all files of one split model, in order.
func isRow(names []string) bool {
	first, ok := gguf.ShardOf(names[0])
	return ok && first.Count == len(names) && slices.Equal(gguf.Shards(names[0]), names)
}
