package caches

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// flatName is the name of a file in llama.cpp's flat folder. Two files of two
// repositories can have the same one.
func flatName(repo, file string) string { return strings.ReplaceAll(repo+"_"+file, "/", "_") }

// flatFiles are the files of a repository in llama.cpp's flat folder. What a file is
// called on the Hub is in the manifest or the URL that llama.cpp kept beside it, else in
// its name.
func (c Cache) flatFiles(repo string) []File {
	entries, _ := os.ReadDir(c.Dir) // none where there is no such folder
	manifests := c.flatManifests(repo)
	prefix := flatName(repo, "")
	var out []File
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), prefix)
		if !ok || rest == "" || !strings.HasSuffix(rest, ".gguf") {
			continue
		}
		real, info, ok := regular(filepath.Join(c.Dir, e.Name()))
		if !ok {
			continue
		}
		f := File{Path: real, Size: info.Size(), Name: rest}
		if said, ok := manifests[e.Name()]; ok {
			f.Name, f.SHA256 = said.name, said.sha256
		} else if from, name, ok := c.flatSource(e.Name()); ok {
			if from != repo {
				continue // another repository's, whose name comes to the same
			}
			f.Name = name
		}
		out = append(out, f)
	}
	return out
}

// flatSource is the repository and the name that a file was fetched from, by the URL in
// the metadata beside it.
func (c Cache) flatSource(file string) (repo, name string, ok bool) {
	var meta struct{ URL string }
	b, err := os.ReadFile(filepath.Join(c.Dir, file+".json"))
	if err != nil || json.Unmarshal(b, &meta) != nil {
		return "", "", false
	}
	u, err := url.Parse(meta.URL)
	if err != nil {
		return "", "", false
	}
	// The path of a Hub behind a prefix has it before the repository.
	before, after, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/resolve/")
	_, name, found := strings.Cut(after, "/")
	parts := strings.Split(before, "/")
	if !ok || !found || len(parts) < 2 || !ref.CleanRelative(name) {
		return "", "", false
	}
	return strings.Join(parts[len(parts)-2:], "/"), name, true
}

// manifested is a file as a manifest names it.
type manifested struct{ name, sha256 string }

// flatManifests are the files that the repository's manifests name, by their names in the
// folder. The name of a manifest was changed once.
func (c Cache) flatManifests(repo string) map[string]manifested {
	out := map[string]manifested{}
	for _, name := range []string{strings.ReplaceAll(repo, "/", "="), strings.ReplaceAll(repo, "/", "_")} {
		found, _ := filepath.Glob(filepath.Join(c.Dir, "manifest="+name+"=*.json")) // a repository's name has nothing special
		for _, p := range found {
			var m struct {
				GGUF struct {
					Name string `json:"rfilename"`
					LFS  struct{ SHA256 string }
				} `json:"ggufFile"`
			}
			b, err := os.ReadFile(p)
			if err != nil || json.Unmarshal(b, &m) != nil || !ref.CleanRelative(m.GGUF.Name) {
				continue
			}
			f := manifested{name: m.GGUF.Name}
			if digest.IsSHA256(m.GGUF.LFS.SHA256) {
				f.sha256 = m.GGUF.LFS.SHA256
			}
			out[flatName(repo, f.name)] = f
		}
	}
	return out
}
