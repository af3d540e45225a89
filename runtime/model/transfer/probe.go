package transfer

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

// Probe asks what a URL has, by requesting its first bytes. It does not use HEAD, because a
// signed URL is often good for a GET only. Where the URL's own host answers as the Hub does,
// its hash of the file is taken.
func (c *Client) Probe(ctx context.Context, address string, want digest.Want, retries uint64, note func(string)) (src Source, err error) {
	err = c.Retry(ctx, retries, note, func() (bool, error) {
		src, err = c.probeOnce(ctx, address, want)
		return false, err
	})
	return src, err
}

func (c *Client) probeOnce(ctx context.Context, address string, want digest.Want) (Source, error) {
	asked, err := url.Parse(address)
	if err != nil {
		return Source{}, errAddress
	}
	linked := ""
	h := http.Header{"Range": {fmt.Sprintf("bytes=0-%d", gguf.SniffSize-1)}}
	resp, err := c.Send(ctx, http.MethodGet, address, h, func(resp *http.Response, _ *url.URL) bool {
		linked = cmp.Or(linked, linkedSHA256(resp, asked))
		return true
	})
	if err != nil {
		return Source{}, err
	}
	defer resp.Body.Close()
	src := Source{Address: address, Want: want, Validator: validator(resp.Header)}
	if src.Size, err = probedSize(resp, address); err != nil {
		return Source{}, err
	}
	head, err := gguf.ReadHead(resp.Body)
	if err != nil {
		return Source{}, err
	}
	if err := judgeHead(head, io.MultiReader(bytes.NewReader(head), resp.Body)); err != nil {
		return Source{}, err
	}
	if linked = cmp.Or(linked, linkedSHA256(resp, asked)); src.Want.None() {
		src.Want.SHA256 = linked
	}
	if src.Size < 0 && src.Want.None() {
		return Source{}, ErrNoSize
	}
	src.Resumable = src.Size >= 0 && (!src.Want.None() || src.Validator != "")
	return src, nil
}

// linkedSHA256 is the hash that a Hub gives of a large file: X-Linked-Etag beside a commit.
// Another host that a redirect leads to does not speak for the one that was asked.
func linkedSHA256(resp *http.Response, asked *url.URL) string {
	if !SameOrigin(resp.Request.URL, asked) || !digest.IsSHA1(resp.Header.Get("X-Repo-Commit")) {
		return ""
	}
	if tag := ETag(resp.Header.Get("X-Linked-Etag")); digest.IsSHA256(tag) {
		return tag
	}
	return ""
}

// ETag is an entity tag in lower case, without the marks of a weak one and without quotes.
func ETag(field string) string {
	return strings.ToLower(strings.Trim(strings.TrimPrefix(strings.TrimSpace(field), "W/"), `"`))
}

// StrongETag is an answer's entity tag that tells any two versions of a file apart; empty
// where it has none.
func StrongETag(h http.Header) string {
	if e := h.Get("ETag"); strings.HasPrefix(e, `"`) {
		return e
	}
	return ""
}

// AnsweredSize is the size in bytes of the file that a good answer to HEAD, or to GET with
// or without a range, is about. It is -1 where the answer does not say it.
func AnsweredSize(resp *http.Response) int64 {
	switch {
	case encoding(resp.Header) != "":
	case resp.StatusCode == http.StatusPartialContent:
		if r, ok := parseContentRange(resp.Header.Get("Content-Range")); ok {
			return r.total
		}
	case resp.StatusCode == http.StatusOK:
		return resp.ContentLength
	}
	return -1
}

// probedSize is the size in bytes that an answer to a probe says, -1 where it does not.
func probedSize(resp *http.Response, address string) (int64, error) {
	switch resp.StatusCode {
	case http.StatusPartialContent:
		if r, ok := parseContentRange(resp.Header.Get("Content-Range")); !ok || r.first != 0 {
			return 0, ErrBadRange
		}
		return AnsweredSize(resp), nil
	case http.StatusOK:
		if enc := encoding(resp.Header); enc != "" {
			return 0, fmt.Errorf("%w: %s sends the file with Content-Encoding %s", ErrEncoded, resp.Request.URL.Host, enc)
		}
		return AnsweredSize(resp), nil
	case http.StatusRequestedRangeNotSatisfiable:
		return 0, fmt.Errorf("it is empty: %w", gguf.ErrNotModel)
	}
	return 0, Failure(resp, address)
}
