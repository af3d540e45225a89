package hub

import (
	"path"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

// RemoteFile is a file in a repository of a hub.
type RemoteFile struct {
	// Path is slash-separated, from the repository's root.
	Path string
	// Size is in bytes.
	Size int64
	// SHA256 is in hex; empty for a small file that is not in LFS.
	SHA256 string
	// Git is the name of the file's git blob in hex; empty for a file in LFS, where it would
	// be that of a pointer.
	Git string
}

// Listing is what a revision of a repository has.
type Listing struct {
	// Commit is the revision's full commit; empty where the hub does not say it.
	Commit string
	Files  []RemoteFile

	// base is the address of the files, with a slash at its end.
	base string
}

// Find returns the file at a path.
func (l Listing) Find(file string) (RemoteFile, bool) {
	i := slices.IndexFunc(l.Files, func(f RemoteFile) bool { return f.Path == file })
	if i < 0 {
		return RemoteFile{}, false
	}
	return l.Files[i], true
}

// Names are the paths of all files.
func (l Listing) Names() []string {
	names := make([]string, len(l.Files))
	for i, file := range l.Files {
		names[i] = file.Path
	}
	return names
}

// Match returns the files whose path or bare name a pattern of path.Match means, in any
// case of letters.
func (l Listing) Match(pattern string) []string {
	var found []string
	for _, name := range l.Names() {
		if matches(pattern, name) {
			found = append(found, name)
		}
	}
	return found
}

func matches(pattern, file string) bool {
	pattern, file = strings.ToLower(pattern), strings.ToLower(file)
	whole, _ := path.Match(pattern, file)
	base, _ := path.Match(pattern, path.Base(file))
	return whole || base
}

// Largest is the largest model of at most this many bytes, by its first file; empty where
// there is none.
func (l Listing) Largest(most int64) string {
	sizes := map[string]int64{}
	for _, file := range l.Files {
		sizes[file.Path] = file.Size
	}
	best, largest := "", int64(0)
	for _, file := range l.Files {
		if !gguf.IsModel(file.Path) {
			continue
		}
		var size int64
		for _, shard := range gguf.Shards(file.Path) {
			size += sizes[shard]
		}
		if size <= most && size > largest {
			best, largest = file.Path, size
		}
	}
	return best
}
