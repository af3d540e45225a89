package transfer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

// stream appends what is missing to p, in bounded requests.
func (c *Client) stream(ctx context.Context, src Source, p *appender, show Progress) error {
	done := false
	return c.Retry(ctx, transferRetries, show.Note, func() (bool, error) {
		start := p.size()
		for !done {
			if src.Size >= 0 && p.size() == src.Size {
				break
			}
			var err error
			if done, err = c.next(ctx, src, p, show); err != nil {
				if !src.Resumable {
					err = errors.Join(err, p.restart())
				}
				return p.size()-start >= progressBytes, err
			}
		}
		return true, nil
	})
}

// next makes one request and appends what it gives. Done says that the server sent
// everything to the end, which only matters where the size is not known.
func (c *Client) next(ctx context.Context, src Source, p *appender, show Progress) (done bool, err error) {
	// Less than a head is not worth resuming, and a stream that begins at zero can be
	// judged by its first bytes.
	if p.size() < gguf.HeadSize && p.size() > 0 {
		if err := p.restart(); err != nil {
			return false, err
		}
	}
	last := p.size() + c.chunk() - 1
	if src.Size >= 0 {
		last = min(last, src.Size-1)
	}
	h := http.Header{}
	if src.Size >= 0 || p.size() > 0 {
		h.Set("Range", fmt.Sprintf("bytes=%d-%d", p.size(), last))
	}
	if p.size() > 0 && src.Validator != "" {
		h.Set("If-Range", src.Validator)
	}
	resp, err := c.send(ctx, c.over(src, false), http.MethodGet, src.Address, h, followAll)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	got, err := judge(resp, src, p.size(), last)
	if err == nil && got.whole {
		err = c.fromStart(resp, src, p, show)
	}
	if got.refused {
		// The size is as it was, so the partial file may be what is wrong.
		if err := p.restart(); err != nil {
			return false, err
		}
	}
	if err != nil {
		return false, err
	}
	return receive(ctx, resp, got.length, p, show)
}

// fromStart makes ready for a whole file where a range was asked for.
func (c *Client) fromStart(resp *http.Response, src Source, p *appender, show Progress) error {
	if err := judgeWhole(resp, src.Size); err != nil {
		return err
	}
	if p.size() == 0 {
		return nil
	}
	show.Note("the server does not resume; starting again")
	if err := p.restart(); err != nil {
		return err
	}
	show.Set(0)
	return nil
}

// receive appends length bytes of an answer's body, or all of it where length is negative.
// It looks at the first bytes of a file before it takes the bulk.
func receive(ctx context.Context, resp *http.Response, length int64, p *appender, show Progress) (bool, error) {
	body := bufio.NewReaderSize(resp.Body, copySize)
	if p.size() == 0 {
		if err := peek(resp, body, length); err != nil {
			return false, err
		}
	}
	var in io.Reader = body
	if length >= 0 {
		in = io.LimitReader(body, length)
	}
	buf := make([]byte, copySize)
	var got int64
	for {
		// What is buffered already would still be read after an interruption.
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		n, err := in.Read(buf)
		if n > 0 {
			if _, werr := p.Write(buf[:n]); werr != nil {
				return false, fmt.Errorf("write: %w", werr)
			}
			got += int64(n)
			show.Set(p.size())
		}
		switch {
		case errors.Is(err, io.EOF) && length >= 0 && got < length:
			// A server of HTTP/1.0 ends a body by hanging up.
			return false, cutOff(resp)
		case errors.Is(err, io.EOF):
			return length < 0, nil
		case err != nil:
			return false, err
		}
	}
}

// peek judges a file by its first bytes, without taking them from the body. Length is the
// body's in bytes, negative where nobody knows it.
func peek(resp *http.Response, body *bufio.Reader, length int64) error {
	want := gguf.SniffSize
	if length >= 0 {
		want = int(min(gguf.SniffSize, length))
	}
	head, err := body.Peek(want)
	if err != nil && !errors.Is(err, io.EOF) && len(head) < gguf.HeadSize {
		return err
	}
	// A body that was cut within its first bytes says nothing about the file.
	if length > int64(len(head)) && len(head) < gguf.HeadSize {
		return cutOff(resp)
	}
	return judgeHead(head, body)
}

// cutOff is a body that ended before its announced length.
func cutOff(resp *http.Response) error {
	return &NetworkError{resp.Request.URL.Host, io.ErrUnexpectedEOF}
}
