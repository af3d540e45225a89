package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// The first bytes that are asked for of a file whose header is wanted, and how much more
// each time.
const (
	firstBytes = 256 << 10
	moreBytes  = 4
)

// Beginning reads a file from its first byte, at most a number of bytes, in requests for
// a little more each time: a header can be read without the rest. The caller closes it.
func (c *Client) Beginning(ctx context.Context, src Source, most int64) io.ReadCloser {
	return &beginning{ctx: ctx, c: c, src: src, step: firstBytes, most: most}
}

type beginning struct {
	ctx context.Context //nolint:containedctx // a Reader has no other place for it
	c   *Client
	src Source
	// at is the next byte; the request that is answered now is for those before until.
	at, until, step, most int64
	body                  io.ReadCloser
	whole                 bool
}

func (b *beginning) Read(p []byte) (int, error) {
	for {
		if b.body == nil {
			if b.at >= b.most || b.src.Size >= 0 && b.at >= b.src.Size {
				return 0, io.EOF
			}
			if err := b.ask(); err != nil {
				return 0, err
			}
		}
		n, err := b.body.Read(p[:min(int64(len(p)), b.most-b.at)])
		b.at += int64(n)
		if errors.Is(err, io.EOF) && !b.whole && b.at == b.until {
			err = nil
			b.Close()
			b.body = nil
		}
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// ask requests the next bytes.
func (b *beginning) ask() error {
	b.until = min(b.at+b.step, b.most)
	if b.src.Size >= 0 {
		b.until = min(b.until, b.src.Size)
	}
	b.step *= moreBytes
	h := http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", b.at, b.until-1)}}
	resp, err := b.c.send(b.ctx, b.c.over(b.src, false), http.MethodGet, b.src.Address, h, followAll)
	if err != nil {
		return err
	}
	switch resp.StatusCode {
	case http.StatusPartialContent:
		if r, ok := parseContentRange(resp.Header.Get("Content-Range")); !ok || r.first != b.at {
			resp.Body.Close()
			return ErrBadRange
		}
	case http.StatusOK:
		if b.at > 0 {
			resp.Body.Close()
			return ErrBadRange
		}
		b.whole = true
	default:
		return Failure(resp, b.src.Address)
	}
	b.body = resp.Body
	return nil
}

// Close ends the request that is under way.
func (b *beginning) Close() error {
	if b.body == nil {
		return nil
	}
	return b.body.Close()
}
