package engine

import (
	"errors"
	"slices"
	"strconv"
)

// ErrUntried means that a model could not be tried alone, which says nothing of the model.
var ErrUntried = errors.New("the server's program does not start alone")

// Loading a model takes no more than a context of this many tokens.
const tryContext = 256

// loadFlags are the flags, as canonical has them, that decide whether a server loads a
// model at all. The true ones are followed by a value.
var loadFlags = map[string]bool{
	dashes + "jinja": false, dashes + "no-jinja": false, dashes + "chat-template": true, dashes + "chat-template-kwargs": true,
	dashes + "override-kv": true, dashes + "pooling": true,
	dashes + "embedding": false, dashes + "embeddings": false, dashes + "reranking": false, dashes + "rerank": false,
	dashes + "no-mmap": false,
}

// TryFlags are the server's flags for loading a model and nothing more: on the CPU, with
// hardly any context, without a first run. Those of a server's own flags that decide
// whether a model loads are among them.
func TryFlags(flags []string) []string {
	var out []string
	for i, flag := range flags {
		takesValue, ok := loadFlags[flag]
		switch {
		case ok && takesValue && i+1 < len(flags):
			out = append(out, flag, flags[i+1])
		case ok && !takesValue:
			out = append(out, flag)
		case flag == dashes+"chat-template-file":
			// It takes the place of the model's own, and the file is not there.
			out = append(out, dashes+"chat-template", "chatml")
		}
	}
	return slices.Concat(out, []string{
		flagGPULayers, "0", flagCtxSize, strconv.Itoa(tryContext), flagParallel, "1", dashes + "no-warmup",
	})
}
