package hub

import (
	"cmp"
	"context"
	"fmt"
	"net/url"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// maxSiblings is up to how many files the answer about a revision is taken for the whole
// list. Hugging Face's own tools do not rely on it for large repositories.
const maxSiblings = 1000

// List asks the hub what a ref's repository has at the ref's revision. Note gets a line for
// each new try. A *NoListingError means that this server lists nothing.
func (c *Client) List(ctx context.Context, r ref.Ref, retries uint64, note func(string)) (Listing, error) {
	if r.Site == ref.ModelScope {
		return c.listModelScope(ctx, r, retries, note)
	}
	return c.list(ctx, r.Repo, r.Revision, retries, note)
}

// list asks by the Hugging Face Hub's protocol: for the revision, whose answer has the
// commit and often all files, then for the tree.
func (c *Client) list(ctx context.Context, repo, revision string, retries uint64, note func(string)) (Listing, error) {
	var info revisionInfo
	_, err := c.getJSON(ctx, c.api(repo)+"/revision/"+url.PathEscape(revision)+"?blobs=true", &info, retries, note)
	if err != nil && !isUnavailable(err) {
		return Listing{}, err
	}
	var l Listing
	switch {
	case digest.IsSHA1(info.SHA):
		l.Commit = info.SHA
	case digest.IsSHA1(revision):
		l.Commit = revision
	case err == nil:
		err = &NotHubError{Host: c.Endpoint, Err: errNoCommit}
	}
	at := cmp.Or(l.Commit, revision)
	l.base = c.resolve(repo, at)
	if info.complete() {
		l.addSiblings(info.Siblings)
		return l, nil
	}
	// The tree is asked for even where the revision is not known: some mirrors have only one
	// of the two.
	treeErr := c.addTree(ctx, &l, c.api(repo)+"/tree/"+url.PathEscape(at)+"?recursive=true", retries, note)
	switch {
	case treeErr == nil:
		return l, nil
	case !isUnavailable(treeErr):
		return Listing{}, treeErr
	}
	return Listing{}, &NoListingError{cmp.Or(err, treeErr)}
}

func (c *Client) api(repo string) string { return c.Endpoint + "/api/models/" + repo }

// addTree adds all pages of a tree.
func (c *Client) addTree(ctx context.Context, l *Listing, next string, retries uint64, note func(string)) error {
	for range maxPages {
		var page []treeEntry
		more, err := c.getJSON(ctx, next, &page, retries, note)
		if err != nil {
			return err
		}
		l.addEntries(page)
		if more == "" {
			return nil
		}
		next = more
	}
	return fmt.Errorf("the listing has more than %d pages", maxPages)
}

// revisionInfo is the Hub's answer about a revision.
type revisionInfo struct {
	SHA      string    `json:"sha"`
	Siblings []sibling `json:"siblings"`
}

// sibling is a file of a revision. Size is nil where the Hub gives names alone.
type sibling struct {
	Path string `json:"rfilename"`
	Size *int64 `json:"size"`
	Blob string `json:"blobId"`
	LFS  *struct {
		SHA256 string `json:"sha256"`
	} `json:"lfs"`
}

// complete reports whether the answer has all files with their sizes.
func (i revisionInfo) complete() bool {
	for _, s := range i.Siblings {
		if s.Size == nil {
			return false
		}
	}
	return len(i.Siblings) > 0 && len(i.Siblings) <= maxSiblings
}

func (l *Listing) addSiblings(all []sibling) {
	for _, s := range all {
		sha256, inLFS := "", s.LFS != nil
		if inLFS {
			sha256 = s.LFS.SHA256
		}
		l.add(s.Path, *s.Size, inLFS, sha256, s.Blob)
	}
}

// treeEntry is one of a tree's, as the Hub lists it.
type treeEntry struct {
	Type string `json:"type"`
	Path string `json:"path"`
	Size int64  `json:"size"`
	OID  string `json:"oid"`
	LFS  *struct {
		OID string `json:"oid"`
	} `json:"lfs"`
}

func (l *Listing) addEntries(page []treeEntry) {
	for _, e := range page {
		if e.Type != "file" {
			continue
		}
		sha256, inLFS := "", e.LFS != nil
		if inLFS {
			sha256 = e.LFS.OID
		}
		l.add(e.Path, e.Size, inLFS, sha256, e.OID)
	}
}

// add adds a file. A hash counts only where it is one, and the name of a git blob only for a
// file that is not in LFS.
func (l *Listing) add(path string, size int64, inLFS bool, sha256, git string) {
	if !ref.CleanRelative(path) || size < 0 {
		return
	}
	file := RemoteFile{Path: path, Size: size}
	if digest.IsSHA256(sha256) {
		file.SHA256 = sha256
	}
	if !inLFS && digest.IsSHA1(git) {
		file.Git = git
	}
	l.Files = append(l.Files, file)
}
