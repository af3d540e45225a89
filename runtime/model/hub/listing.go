package hub

import (
	"context"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// RemoteFile is a file in a repository of the Hub.
type RemoteFile struct {
	// Path is slash-separated, from the repository's root.
	Path string
	// Size is in bytes.
	Size int64
	// SHA256 is in hex; empty for a small file that is not in LFS.
	SHA256 string
}

// Listing is what a revision of a repository has.
type Listing struct {
	// Commit is the revision's full commit.
	Commit string
	Files  []RemoteFile
}

// List asks the Hub what a ref's repository has at the ref's revision. Note gets a line
// for each new try.
func (c *Client) List(ctx context.Context, r ref.Ref, retries uint64, note func(string)) (Listing, error) {
	api := c.Endpoint + "/api/models/" + r.Repo
	var rev struct {
		SHA string `json:"sha"`
	}
	if _, err := c.getJSON(ctx, api+"/revision/"+url.PathEscape(r.Revision), &rev, retries, note); err != nil {
		return Listing{}, err
	}
	if !digest.IsSHA1(rev.SHA) {
		return Listing{}, fmt.Errorf("%s does not answer as a Hub does (no commit in its answer)", c.Endpoint)
	}
	l := Listing{Commit: rev.SHA}
	next := api + "/tree/" + rev.SHA + "?recursive=true"
	for range maxPages {
		var page []entry
		more, err := c.getJSON(ctx, next, &page, retries, note)
		if err != nil {
			return Listing{}, err
		}
		l.add(page)
		if more == "" {
			return l, nil
		}
		next = more
	}
	return Listing{}, fmt.Errorf("the listing has more than %d pages", maxPages)
}

// entry is one of a tree's, as the Hub lists it.
type entry struct {
	Type string `json:"type"`
	Path string `json:"path"`
	Size int64  `json:"size"`
	LFS  *struct {
		OID string `json:"oid"`
	} `json:"lfs"`
}

func (l *Listing) add(page []entry) {
	for _, e := range page {
		if e.Type != "file" || !ref.CleanRelative(e.Path) {
			continue
		}
		file := RemoteFile{Path: e.Path, Size: e.Size}
		if e.LFS != nil && digest.IsSHA256(e.LFS.OID) {
			file.SHA256 = e.LFS.OID
		}
		l.Files = append(l.Files, file)
	}
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
