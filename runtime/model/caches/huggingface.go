package caches

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// hubFolder is a repository's folder in the layout of Hugging Face's tools.
func (c Cache) hubFolder(repo string) string {
	return filepath.Join(c.Dir, "models--"+strings.ReplaceAll(repo, "/", "--"))
}

// hubSnapshot is a revision of a repository. Its files are links to blobs that their
// hashes name, or copies where a file system has no links.
func (c Cache) hubSnapshot(repo, revision string) Snapshot {
	dir := c.hubFolder(repo)
	commit := revision
	if !digest.IsSHA1(revision) {
		if !ref.CleanRelative(revision) {
			return Snapshot{}
		}
		b, err := os.ReadFile(filepath.Join(dir, "refs", filepath.FromSlash(revision)))
		if commit = strings.TrimSpace(string(b)); err != nil || !digest.IsSHA1(commit) {
			return Snapshot{}
		}
	}
	return Snapshot{commit, filesBelow(filepath.Join(dir, "snapshots", commit), listedHashes(dir, commit))}
}

// listedHashes are the hashes of a commit's files where the tool has kept the listing that
// it got from the Hub (huggingface_hub's _tree_cache.py, format 1).
func listedHashes(dir, commit string) map[string]string {
	var listing struct {
		Version int `json:"format_version"`
		Files   map[string]struct {
			SHA256 string `json:"lfs_sha256"`
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "trees", commit+".json"))
	if err != nil || json.Unmarshal(b, &listing) != nil || listing.Version != 1 {
		return nil
	}
	out := map[string]string{}
	for name, f := range listing.Files {
		if digest.IsSHA256(f.SHA256) {
			out[name] = f.SHA256
		}
	}
	return out
}

// filesBelow are all files below a folder that is a repository's root. A file's hash is
// the one that is listed, else the name of the blob that it is a link to.
func filesBelow(root string, listed map[string]string) []File {
	var out []File
	_ = filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil //nolint:nilerr // what cannot be read is not there
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return nil //nolint:nilerr // as above
		}
		real, info, ok := regular(p)
		if !ok {
			return nil
		}
		f := File{Path: real, Size: info.Size(), Name: filepath.ToSlash(rel)}
		f.SHA256 = listed[f.Name]
		if blob := filepath.Base(real); f.SHA256 == "" && digest.IsSHA256(blob) {
			f.SHA256 = blob
		}
		out = append(out, f)
		return nil
	})
	return out
}

// hubCandidates are the blob with a hash, and the copies that any snapshot has under the
// file's name.
func (c Cache) hubCandidates(w Wanted) []string {
	if w.Repo == "" {
		return nil
	}
	dir := c.hubFolder(w.Repo)
	var out []string
	if w.Hash != "" {
		out = append(out, filepath.Join(dir, "blobs", w.Hash))
	}
	commits, _ := os.ReadDir(filepath.Join(dir, "snapshots")) // none where there is no such folder
	for _, commit := range commits {
		out = append(out, filepath.Join(dir, "snapshots", commit.Name(), filepath.FromSlash(w.Name)))
	}
	return out
}
