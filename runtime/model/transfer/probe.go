package transfer

import (
	"context"
	"fmt"
	"net/http"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

// Probe asks what a plain URL has, by requesting its first bytes. It does not use HEAD,
// because a signed URL is often good for a GET only.
func (c *Client) Probe(ctx context.Context, address string, want digest.Want, retries uint64, note func(string)) (src Source, err error) {
	err = c.Retry(ctx, retries, note, func() (bool, error) {
		src, err = c.probeOnce(ctx, address, want)
		return false, err
	})
	return src, err
}

func (c *Client) probeOnce(ctx context.Context, address string, want digest.Want) (Source, error) {
	h := http.Header{"Range": {fmt.Sprintf("bytes=0-%d", gguf.SniffSize-1)}}
	resp, err := c.Send(ctx, http.MethodGet, address, h, followAll)
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
	if err := judgeHead(resp, head); err != nil {
		return Source{}, err
	}
	if src.Size < 0 && want.None() {
		return Source{}, ErrNoSize
	}
	src.Resumable = src.Size >= 0 && (!want.None() || src.Validator != "")
	return src, nil
}

// probedSize is the size in bytes that an answer to a probe says, -1 where it does not.
func probedSize(resp *http.Response, address string) (int64, error) {
	switch resp.StatusCode {
	case http.StatusPartialContent:
		r, ok := parseContentRange(resp.Header.Get("Content-Range"))
		if !ok || r.first != 0 {
			return 0, ErrBadRange
		}
		return r.total, nil
	case http.StatusOK:
		return resp.ContentLength, nil
	case http.StatusRequestedRangeNotSatisfiable:
		return 0, fmt.Errorf("it is empty: %w", gguf.ErrNotModel)
	}
	return 0, Failure(resp, address)
}
