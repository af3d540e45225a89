// Package caches answers one question: which models do other tools have on this host? It
// knows the folders of Hugging Face's tools, of llama.cpp before and after it shared
// theirs, of LM Studio and of Ollama. It reads them and changes nothing.
package caches

import (
	"os"
	"path/filepath"

	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// Layout is how a tool arranges its files.
type Layout int

// The layouts.
const (
	// HuggingFace is that of Hugging Face's tools, which llama.cpp has too today.
	HuggingFace Layout = iota
	// LlamaCpp is the flat one of llama.cpp's earlier releases (common/arg.cpp of b5415).
	LlamaCpp
	// LMStudio is a folder for each organisation, and in it one for each repository.
	LMStudio
	// Ollama is manifests by name, and content by hash.
	Ollama
)

// Cache is a folder that another tool keeps models in.
type Cache struct {
	Layout Layout
	// Dir is absolute. It need not exist.
	Dir string
}

// String is the folder.
func (c Cache) String() string { return c.Dir }

// File is a file of another tool's.
type File struct {
	// Path is where it is, without symbolic links.
	Path string
	// Size is in bytes.
	Size int64
	// Name is slash-separated, from the repository's root.
	Name string
	// SHA256 is the hash in lower-case hex that the tool was told by the file's source;
	// empty where the tool did not write it down.
	SHA256 string
}

// Snapshot is what a cache has of a revision of a repository.
type Snapshot struct {
	// Commit is the Hub's commit, or of an Ollama model the SHA-256 of its manifest. It is
	// empty where the tool does not write it down.
	Commit string
	Files  []File
}

// Names are the names of all files.
func (s Snapshot) Names() []string {
	names := make([]string, len(s.Files))
	for i, f := range s.Files {
		names[i] = f.Name
	}
	return names
}

// Find returns the files with these names; false where one is missing.
func (s Snapshot) Find(names []string) ([]File, bool) {
	at := map[string]File{}
	for _, f := range s.Files {
		at[f.Name] = f
	}
	var out []File
	for _, name := range names {
		f, ok := at[name]
		if !ok {
			return nil, false
		}
		out = append(out, f)
	}
	return out, true
}

// Snapshot is what the cache has of what a Hub or Registry ref means; false where it has
// nothing.
func (c Cache) Snapshot(r ref.Ref) (Snapshot, bool) {
	var s Snapshot
	switch {
	case r.Kind == ref.Hub && c.Layout == HuggingFace:
		s = c.hubSnapshot(r.Repo, r.Revision)
	// The next two know of no revision but the one that they fetched last.
	case r.Kind == ref.Hub && c.Layout == LlamaCpp && r.Revision == ref.DefaultRevision:
		s.Files = c.flatFiles(r.Repo)
	case r.Kind == ref.Hub && c.Layout == LMStudio && r.Revision == ref.DefaultRevision:
		s.Files = filesBelow(filepath.Join(c.Dir, filepath.FromSlash(r.Repo)), nil)
	case r.Kind == ref.Registry && c.Layout == Ollama:
		s = c.ollamaSnapshot(r.Repo, r.Revision, r.BaseName())
	}
	return s, len(s.Files) > 0
}

// Wanted is a file whose identity is known.
type Wanted struct {
	// Repo and Name are its repository on the Hub and its name there; empty for a file that
	// is not the Hub's.
	Repo, Name string
	// Hash is its SHA-256 or git hash in lower-case hex, and Size its bytes, -1 where
	// nobody knows them.
	Hash string
	Size int64
}

// Candidates are the paths of files that can be the wanted one. Whether they are, only
// their content says.
func (c Cache) Candidates(w Wanted) []string {
	var try []string
	switch c.Layout {
	case HuggingFace:
		try = c.hubCandidates(w)
	case LlamaCpp:
		if w.Repo != "" {
			try = []string{filepath.Join(c.Dir, flatName(w.Repo, w.Name))}
		}
	case LMStudio:
		if w.Repo != "" {
			try = []string{filepath.Join(c.Dir, filepath.FromSlash(w.Repo), filepath.FromSlash(w.Name))}
		}
	case Ollama:
		try = c.ollamaBlobs(w.Hash)
	}
	var out []string
	var seen []os.FileInfo
	for _, p := range try {
		real, info, ok := regular(p)
		if !ok || w.Size >= 0 && info.Size() != w.Size || known(seen, info) {
			continue
		}
		seen = append(seen, info)
		out = append(out, real)
	}
	return out
}

// known reports whether a file is one of those, under whatever name.
func known(seen []os.FileInfo, info os.FileInfo) bool {
	for _, s := range seen {
		if os.SameFile(s, info) {
			return true
		}
	}
	return false
}

// regular is the file that a path leads to; false where it leads to none.
func regular(p string) (real string, info os.FileInfo, ok bool) {
	real, err := filepath.EvalSymlinks(p)
	if err != nil {
		return "", nil, false
	}
	info, err = os.Stat(real)
	return real, info, err == nil && info.Mode().IsRegular()
}
