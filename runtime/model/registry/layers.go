package registry

import (
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// ggufLayers are the media types of a layer that is a GGUF file: those of Docker's
// model-spec, also of its first version, and of CNCF's ModelPack.
var ggufLayers = map[string]bool{
	"application/vnd.docker.ai.gguf.v3":            true,
	"application/vnd.docker.ai.gguf":               true,
	"application/vnd.docker.ai.model.file.v1+gguf": true,
	"application/vnd.cncf.model.weight.v1.gguf":    true,
	"application/vnd.cncf.model.weight.gguf":       true,
}

// nameKeys are the annotations that say a layer's file name, the first one first.
var nameKeys = []string{"org.cncf.model.filepath", "org.opencontainers.image.title"}

// fileNames names the files of a model's layers, so that llama.cpp finds all of them by
// the first: as the layers say where that is so, else by base and their order.
func fileNames(base string, layers []v1.Descriptor) []string {
	said := make([]string, len(layers))
	for i, l := range layers {
		for _, key := range nameKeys {
			if file := path.Base(l.Annotations[key]); said[i] == "" && ref.IsName(file) && strings.HasSuffix(file, ".gguf") {
				said[i] = file
			}
		}
	}
	if len(layers) == 1 {
		if _, shard := gguf.ShardOf(said[0]); said[0] != "" && !shard && gguf.IsModel(said[0]) {
			return said
		}
		return []string{base + ".gguf"}
	}
	if first, ok := gguf.ShardOf(said[0]); ok && first.Index == 1 && first.Count == len(layers) {
		if want := gguf.Shards(said[0]); strings.Join(want, "/") == strings.Join(said, "/") {
			return said
		}
	}
	return gguf.ShardNames(base, len(layers))
}
