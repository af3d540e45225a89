package caches

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// ollamaModel is the media type of the layer that is the model's file.
const ollamaModel = "application/vnd.ollama.image.model"

// ollamaSnapshot is what Ollama has under "host/path" and a tag. The model's file has no
// name there, and gets that of name, which has no extension.
func (c Cache) ollamaSnapshot(repo, tag, name string) Snapshot {
	at := repo + "/" + tag
	if !ref.CleanRelative(at) {
		return Snapshot{}
	}
	b, err := os.ReadFile(filepath.Join(c.Dir, "manifests", filepath.FromSlash(at)))
	var m struct {
		Layers []struct{ MediaType, Digest string }
	}
	if err != nil || json.Unmarshal(b, &m) != nil {
		return Snapshot{}
	}
	sum := sha256.Sum256(b)
	s := Snapshot{Commit: hex.EncodeToString(sum[:])}
	for _, l := range m.Layers {
		if l.MediaType != ollamaModel {
			continue
		}
		if len(s.Files) > 0 {
			return Snapshot{} // a model in several layers, which have no names to tell their order
		}
		hash := strings.TrimPrefix(l.Digest, "sha256:")
		for _, p := range c.ollamaBlobs(hash) {
			if real, info, ok := regular(p); ok {
				s.Files = append(s.Files, File{Path: real, Size: info.Size(), Name: name + ".gguf", SHA256: hash})
				break
			}
		}
	}
	return s
}

// ollamaBlobs are the places of content with a hash. Ollama's earlier releases had a colon
// in the name.
func (c Cache) ollamaBlobs(hash string) []string {
	if !digest.IsSHA256(hash) {
		return nil
	}
	return []string{filepath.Join(c.Dir, "blobs", "sha256-"+hash), filepath.Join(c.Dir, "blobs", "sha256:"+hash)}
}
