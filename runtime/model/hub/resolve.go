package hub

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// File is a file of the Hub whose identity is known.
type File struct {
	// Source is where to fetch it, at its commit.
	transfer.Source
	// Commit is the one that the ref's revision means.
	Commit string
	// Blob is the name of its content in Hugging Face cache layout: the SHA-256 of a file
	// in LFS, else the git hash.
	Blob string
}

// Resolve asks the Hub which commit a ref's revision is, and what the ref's file in it
// hashes to. Note gets a line for each new try.
func (c *Client) Resolve(ctx context.Context, r ref.Ref, retries uint64, note func(string)) (file File, err error) {
	err = c.Transfer.Retry(ctx, retries, note, func() (bool, error) {
		file, err = c.head(ctx, r)
		return false, err
	})
	return file, err
}

// address is where the Hub hands out a file of a revision.
func (c *Client) address(repo, revision, file string) string {
	parts := strings.Split(file, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return c.Endpoint + "/" + repo + "/resolve/" + url.PathEscape(revision) + "/" + strings.Join(parts, "/")
}

// description is what the Hub's answers say about a file.
type description struct{ commit, tag, size string }

// add takes what an answer says and no earlier one said.
func (d *description) add(h http.Header) {
	d.commit = cmp.Or(d.commit, h.Get("X-Repo-Commit"))
	d.tag = cmp.Or(d.tag, h.Get("X-Linked-Etag"))
	d.size = cmp.Or(d.size, h.Get("X-Linked-Size"))
}

func (c *Client) head(ctx context.Context, r ref.Ref) (File, error) {
	address := c.address(r.Repo, r.Revision, r.File)
	asked, err := url.Parse(address)
	if err != nil {
		return File{}, fmt.Errorf("the Hub's address: %w", err)
	}
	// The file is described by the Hub's own answers: by the redirect to a content
	// network or, for a renamed repository, by a later answer of the same host.
	var said description
	resp, err := c.Transfer.Send(ctx, http.MethodHead, address, nil, func(resp *http.Response, to *url.URL) bool {
		said.add(resp.Header)
		return transfer.SameOrigin(to, asked)
	})
	if err != nil {
		return File{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		return File{}, transfer.Failure(resp, address)
	}
	said.add(resp.Header)
	if resp.StatusCode < 300 {
		said.tag = cmp.Or(said.tag, resp.Header.Get("ETag"))
		// A redirect's own length is not the file's.
		if resp.ContentLength >= 0 {
			said.size = cmp.Or(said.size, strconv.FormatInt(resp.ContentLength, 10))
		}
	}
	return c.file(r, asked.Host, said)
}

// file makes a File of what the Hub said about a ref's file.
func (c *Client) file(r ref.Ref, host string, said description) (File, error) {
	tag := strings.ToLower(strings.Trim(strings.TrimPrefix(said.tag, "W/"), `"`))
	size, ok := transfer.ParseSize(said.size)
	if !digest.IsSHA1(said.commit) || tag == "" || !ok {
		return File{}, fmt.Errorf("%s does not answer as a Hub does (no commit, hash or size in its answer)", host)
	}
	if size < gguf.HeadSize {
		return File{}, gguf.Check(make([]byte, size))
	}
	file := File{
		Source: transfer.Source{
			Address: c.address(r.Repo, said.commit, r.File), Size: size,
			Want: digest.Want{SHA256: r.SHA256}, Resumable: true,
		},
		Commit: said.commit, Blob: tag,
	}
	switch {
	case digest.IsSHA256(tag):
		if r.SHA256 != "" && r.SHA256 != tag {
			return File{}, &digest.MismatchError{Kind: "SHA-256 on the Hub", Want: r.SHA256, Got: tag}
		}
		file.Want.SHA256 = tag
	case digest.IsSHA1(tag):
		file.Want.Git = tag
	default:
		file.Blob = digest.NameOf(tag)
		file.Resumable = r.SHA256 != ""
	}
	return file, nil
}
