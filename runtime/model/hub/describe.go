package hub

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// facts are what is known of a file, from whatever source. Empty fields are not known, and
// neither is a negative size.
type facts struct {
	// address is where the file is fetched.
	address string
	// commit is a full commit that has the file.
	commit string
	// sha256 and git are hashes that a hub vouches for.
	sha256, git string
	// size is in bytes.
	size int64
	// validator tells the file from any other version of it, and says nothing of its bytes.
	validator string
}

// hashed reports whether the bytes can be verified.
func (f facts) hashed() bool { return f.sha256 != "" || f.git != "" }

// whole reports whether nothing is left to ask.
func (f facts) whole() bool { return f.commit != "" && f.hashed() && f.size >= 0 }

// add takes what a hub's own answer says and no earlier one said. Only X-Linked-Etag is a
// hash: an ETag of 64 or 40 hex digits may be any hash of anything.
func (f *facts) add(h http.Header) {
	if commit := h.Get("X-Repo-Commit"); digest.IsSHA1(commit) {
		f.commit = cmp.Or(f.commit, commit)
	}
	if tag := transfer.ETag(h.Get("X-Linked-Etag")); digest.IsSHA256(tag) {
		f.sha256 = cmp.Or(f.sha256, tag)
	}
	if size, ok := transfer.ParseSize(h.Get("X-Linked-Size")); ok && f.size < 0 {
		f.size = size
	}
}

// describe asks where a file is fetched what it is: with HEAD, or with GET for one byte
// where HEAD is refused.
func (c *Client) describe(ctx context.Context, address string) (facts, error) {
	f, err := c.describeBy(ctx, http.MethodHead, address, nil)
	if s := status(err); s != nil && s.Reason == "" && slices.Contains(noHead, s.Code) {
		return c.describeBy(ctx, http.MethodGet, address, http.Header{"Range": {"bytes=0-0"}})
	}
	return f, err
}

// noHead are the answers of gateways and stores that do not let HEAD through.
var noHead = []int{http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotImplemented}

func (c *Client) describeBy(ctx context.Context, method, address string, header http.Header) (facts, error) {
	asked, err := url.Parse(address)
	if err != nil {
		return facts{}, fmt.Errorf("the hub's address: %w", err)
	}
	// The file is described by the hub's own answers: by the redirect to a content network
	// or, for a renamed repository, by a later answer of the same host.
	f := facts{address: address, size: -1}
	resp, err := c.Transfer.Send(ctx, method, address, header, func(resp *http.Response, to *url.URL) bool {
		f.add(resp.Header)
		return transfer.SameOrigin(to, asked)
	})
	if err != nil {
		return facts{}, err
	}
	defer resp.Body.Close()
	// A file without a byte has no range.
	if empty := resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && header != nil; resp.StatusCode >= 400 && !empty {
		return facts{}, transfer.Failure(resp, address)
	}
	f.add(resp.Header)
	if f.size < 0 {
		f.size = transfer.AnsweredSize(resp) // a redirect's own length is not the file's
	}
	if resp.StatusCode < 300 {
		f.validator = transfer.StrongETag(resp.Header)
	}
	return f, nil
}
