package store

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/llorch/llorch-bk/runtime/model/digest"
)

// maxGitBlob is the largest file, in bytes, that Offers hashes again. The Hub keeps
// larger files in LFS.
const maxGitBlob = 16 << 20

// Offer is a file of a repository that another machine may take from this store. Its hash
// is the one that the store has it under.
type Offer struct {
	// Path is slash-separated, from the repository's root.
	Path string
	// Size is in bytes.
	Size int64
	// SHA256 is the hash of a file that the Hub has in LFS, and Git the hash of any other
	// one. Both are in lower-case hex, and one of them is empty.
	SHA256, Git string

	// at is where its content is: a blob, or on a file system without symlinks a
	// snapshot's file.
	at string
}

// Repositories are the Hub's repositories, "org/name", of which the store has a folder.
func (s *Store) Repositories() ([]string, error) {
	all, err := s.folders()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, d := range all {
		if repo, ok := strings.CutPrefix(d.name, hubPrefix); ok {
			out = append(out, strings.Replace(repo, "--", "/", 1))
		}
	}
	return out, nil
}

// Revisions are the recorded revisions, each with the commit that it last meant.
func (d Folder) Revisions() map[string]string {
	out := map[string]string{}
	for _, name := range d.names("refs") {
		if commit := d.CommitOf(name); commit != "" {
			out[name] = commit
		}
	}
	return out
}

// Commits are those that the store has files of.
func (d Folder) Commits() []string {
	entries, _ := os.ReadDir(d.path("snapshots")) // none where there is no such folder
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out
}

// Offers are a commit's files that are here whole and whose hash is known. There are none
// of a snapshot that is no commit of the Hub's.
func (d Folder) Offers(ctx context.Context, commit string) []Offer {
	if !digest.IsSHA1(commit) {
		return nil
	}
	var out []Offer
	for _, file := range d.Files(commit) {
		blob, size, ok := d.Stored(commit, file)
		if !ok {
			continue
		}
		at, ok := d.contentOf(d.record(), blob, size)
		if !ok {
			continue
		}
		o := Offer{Path: file, Size: size, at: at}
		switch {
		case digest.IsSHA256(blob):
			o.SHA256 = blob
		case isGit(ctx, at, blob, size):
			o.Git = blob
		default:
			continue
		}
		out = append(out, o)
	}
	return out
}

// isGit reports whether a blob's name is the git hash of its content. The name can also
// be another word of the same length, so the content decides.
func isGit(ctx context.Context, at, blob string, size int64) bool {
	if !digest.IsSHA1(blob) || size > maxGitBlob {
		return false
	}
	got, err := digest.File(ctx, at, blob, size, func(int64) {})
	return err == nil && got == blob
}

// OfferPath is the path of an offered file's content.
func (d Folder) OfferPath(o Offer) string { return o.at }

// OpenOffer opens an offered file for reading. It follows no link out of the folder.
func (d Folder) OpenOffer(o Offer) (*os.File, error) {
	rel, err := filepath.Rel(d.Dir(), o.at)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenInRoot(d.Dir(), rel)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() != o.Size) {
		err = &fs.PathError{Op: "open", Path: o.at, Err: fmt.Errorf("it has %d bytes, not %d", info.Size(), o.Size)}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
