package mirror

import (
	"crypto/sha1" //nolint:gosec // git names a blob by its SHA-1
	"encoding/hex"
	"fmt"

	"github.com/llorch/llorch-bk/runtime/model/store"
)

// treeEntry is a file or folder as a listing has it.
type treeEntry struct {
	Type string   `json:"type"`
	OID  string   `json:"oid"`
	Size int64    `json:"size"`
	LFS  *treeLFS `json:"lfs,omitempty"`
	Path string   `json:"path"`
}

type treeLFS struct {
	OID         string `json:"oid"`
	Size        int64  `json:"size"`
	PointerSize int    `json:"pointerSize"`
}

func entryOf(o store.Offer) treeEntry {
	e := treeEntry{Type: "file", OID: o.Git, Size: o.Size, Path: o.Path}
	if o.SHA256 != "" {
		p := pointer(o)
		e.OID, e.LFS = gitHash(p), &treeLFS{o.SHA256, o.Size, len(p)}
	}
	return e
}

// sibling is a file as a repository's description and a manifest have it.
type sibling struct {
	Name   string      `json:"rfilename"`
	BlobID string      `json:"blobId,omitempty"`
	Size   int64       `json:"size,omitempty"`
	LFS    *siblingLFS `json:"lfs,omitempty"`
}

type siblingLFS struct {
	SHA256      string `json:"sha256"`
	Size        int64  `json:"size"`
	PointerSize int    `json:"pointerSize"`
}

func siblingOf(o store.Offer) *sibling {
	e := entryOf(o)
	s := &sibling{Name: o.Path, BlobID: e.OID, Size: o.Size}
	if e.LFS != nil {
		s.LFS = &siblingLFS{e.LFS.OID, e.LFS.Size, e.LFS.PointerSize}
	}
	return s
}

// pointer is the file that git has in the place of one in LFS (git-lfs' docs/spec.md).
func pointer(o store.Offer) []byte {
	return fmt.Appendf(nil, "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", o.SHA256, o.Size)
}

// gitHash is git's name of a blob.
func gitHash(content []byte) string {
	h := sha1.New() //nolint:gosec // as above
	fmt.Fprintf(h, "blob %d\x00", len(content))
	h.Write(content)
	return hex.EncodeToString(h.Sum(nil))
}

// etag is the hash that the Hub's clients name a file's content by.
func etag(o store.Offer) string {
	if o.SHA256 != "" {
		return `"` + o.SHA256 + `"`
	}
	return `"` + o.Git + `"`
}
