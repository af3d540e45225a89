package mirror

import (
	"net/http"
	"path"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

// manifest says which file of a repository a quantisation means. llama.cpp asks for it in
// releases that do not choose themselves; the tag latest means no quantisation.
type manifest struct {
	SchemaVersion int      `json:"schemaVersion"`
	MediaType     string   `json:"mediaType"`
	Layers        []layer  `json:"layers"`
	GGUF          *sibling `json:"ggufFile"`
	Projector     *sibling `json:"mmprojFile,omitempty"`
}

type layer struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

func (m *Mirror) manifest(w http.ResponseWriter, r *http.Request) {
	repo, err := m.repository(r)
	if err != nil {
		refuse(w, err)
		return
	}
	s, err := repo.at(r.Context(), ref.DefaultRevision)
	if err != nil {
		refuse(w, err)
		return
	}
	tag := r.PathValue("tag")
	o, ok := s.tagged(tag)
	if !ok {
		w.Header().Set("X-Repo-Commit", s.commit)
		refuse(w, &refusal{http.StatusNotFound, codeEntry, "The repository has no GGUF file for the tag " + fault.Printable(tag)})
		return
	}
	out := manifest{SchemaVersion: 2, MediaType: "application/vnd.docker.distribution.manifest.v2+json", Layers: []layer{}, GGUF: siblingOf(o)}
	if o.SHA256 != "" {
		out.Layers = append(out.Layers, layer{"application/vnd.ollama.image.model", "sha256:" + o.SHA256, o.Size})
	}
	if p, ok := s.projector(o.Path); ok {
		out.Projector = siblingOf(p)
		if p.SHA256 != "" {
			out.Layers = append(out.Layers, layer{"application/vnd.ollama.image.projector", "sha256:" + p.SHA256, p.Size})
		}
	}
	w.Header().Set("X-Repo-Commit", s.commit)
	answer(w, out)
}

// tagged is the model file that a tag means: a file's name, or a quantisation.
func (s snapshot) tagged(tag string) (store.Offer, bool) {
	if o, ok := s.find(tag); ok {
		return o, true
	}
	if tag == "latest" {
		tag = ""
	}
	names := make([]string, len(s.files))
	for i, o := range s.files {
		names[i] = o.Path
	}
	file, _, err := gguf.Pick(names, tag)
	if err != nil {
		return store.Offer{}, false
	}
	return s.find(file)
}

// projector is the multimodal projector beside a model: the one in the nearest folder
// above it, and there one of 16 bits before any other.
func (s snapshot) projector(model string) (store.Offer, bool) {
	var best store.Offer
	rank := -1
	for _, o := range s.files {
		base, dir := strings.ToLower(path.Base(o.Path)), path.Dir(o.Path)
		if !strings.Contains(base, "mmproj") || !strings.HasSuffix(base, ".gguf") || dir != "." && !strings.HasPrefix(model, dir+"/") {
			continue
		}
		n := 2 * strings.Count(o.Path, "/")
		if strings.HasSuffix(gguf.QuantOf(o.Path), "F16") {
			n++
		}
		if n > rank {
			best, rank = o, n
		}
	}
	return best, rank >= 0
}
