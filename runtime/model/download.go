package model

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// defaultChunk bounds one request. The Hub's content network refuses a request
// for all of a file of more than about 50 GB.
const defaultChunk = 1 << 30

var (
	// errBadRange is an answer that is not the range asked for; another server
	// behind the same name may do better.
	errBadRange = errors.New("the server sent another range than the one asked for")
	// errChanged is a file that is no longer the one that was looked up.
	errChanged = errors.New("the file changed on the server while it was fetched")
)

// source is a remote file whose identity is known.
type source struct {
	// address is what to ask; it may redirect.
	address string
	// commit is the snapshot that the file belongs to.
	commit string
	// blob is the name of its content in the store. Where byContent is set the
	// name is only the partial file's, and the content's SHA-256 the final one.
	blob      string
	byContent bool
	// size in bytes, -1 where the server does not say.
	size int64
	want expectation
	// validator is what If-Range takes; only for content that has one.
	validator string
	// resumable says that what is there already can be told from another file's
	// beginning, by the hash at the end or by the validator; the size is known.
	resumable bool
	// carry sends the requests where the host wants them signed in its own way; nil
	// for the usual transport.
	carry http.RoundTripper
	// model is what the file is the first of, where somebody wants to know early.
	model *Header
}

// download appends what is missing to p, in bounded requests.
func (f *Fetcher) download(ctx context.Context, src source, p *partial, task Task) error {
	done := false
	return f.retry(ctx, transferRetries, task, func() (bool, error) {
		start := p.size
		for !done {
			if src.size >= 0 && p.size == src.size {
				break
			}
			var err error
			if done, err = f.part(ctx, src, p, task); err != nil {
				if !src.resumable {
					err = errors.Join(err, p.restart())
				}
				return p.size-start >= progressBytes, err
			}
		}
		return true, nil
	})
}

// part makes one request and appends what it gives. Done says that the server
// sent everything to the end, which only matters where the size is not known.
func (f *Fetcher) part(ctx context.Context, src source, p *partial, task Task) (done bool, err error) {
	// Fewer bytes than the header are not worth resuming, and a stream that
	// begins at zero can be judged by its first bytes.
	if p.size < headerSize && p.size > 0 {
		if err := p.restart(); err != nil {
			return false, err
		}
	}
	last := p.size + f.chunk() - 1
	if src.size >= 0 {
		last = min(last, src.size-1)
	}
	h := http.Header{}
	if src.size >= 0 || p.size > 0 {
		h.Set("Range", fmt.Sprintf("bytes=%d-%d", p.size, last))
	}
	if p.size > 0 && src.validator != "" {
		h.Set("If-Range", src.validator)
	}
	resp, err := f.transportTo(src).send(ctx, http.MethodGet, src.address, h, followAll)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return false, fmt.Errorf("%s sends the file with Content-Encoding %s, though asked not to", resp.Request.URL.Host, printable(enc))
	}

	if now := validator(resp.Header); src.validator != "" && now != "" && now != src.validator && resp.StatusCode < 300 {
		return false, errChanged
	}

	var length int64
	switch resp.StatusCode {
	case http.StatusPartialContent:
		if length, err = rangeLength(resp.Header.Get("Content-Range"), p.size, last, src.size); err != nil {
			return false, err
		}
	case http.StatusOK:
		if src.size >= 0 && resp.ContentLength >= 0 && resp.ContentLength != src.size {
			if isHTML(resp.Header.Get("Content-Type"), nil) {
				return false, fmt.Errorf("it is an HTML page: %w", errNotModel)
			}
			return false, fmt.Errorf("%w: it has %d bytes, not %d", errChanged, resp.ContentLength, src.size)
		}
		if p.size > 0 {
			task.Note("the server does not resume; starting again")
			if err := p.restart(); err != nil {
				return false, err
			}
			task.Set(0)
		}
		length = src.size
	case http.StatusRequestedRangeNotSatisfiable:
		total, ok := unsatisfiedTotal(resp.Header.Get("Content-Range"))
		if ok && total != src.size {
			return false, fmt.Errorf("%w: it has %d bytes now, not %d", errChanged, total, src.size)
		}
		// The size is as it was, so what is held here may be what is wrong.
		if err := p.restart(); err != nil {
			return false, err
		}
		return false, fmt.Errorf("%w: %s refuses it", errBadRange, resp.Request.URL.Host)
	default:
		return false, failure(resp, src.address)
	}
	return receive(ctx, resp, length, p, task)
}

// receive appends length bytes of an answer's body, all of it where length is
// negative, having looked at the first ones before the bulk.
func receive(ctx context.Context, resp *http.Response, length int64, p *partial, task Task) (bool, error) {
	body := bufio.NewReaderSize(resp.Body, copySize)
	if p.size == 0 {
		head, err := body.Peek(sniffSize)
		if err != nil && !errors.Is(err, io.EOF) && len(head) < headerSize {
			return false, err
		}
		// A body that was cut within its first bytes says nothing about the file.
		if length > int64(len(head)) && len(head) < headerSize {
			return false, &networkError{resp.Request.URL.Host, io.ErrUnexpectedEOF}
		}
		if isHTML(resp.Header.Get("Content-Type"), head) {
			return false, fmt.Errorf("it is an HTML page: %w", errNotModel)
		}
		if err := checkHeader(head); err != nil {
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
			task.Set(p.size)
		}
		switch {
		case errors.Is(err, io.EOF) && length >= 0 && got < length:
			// A server of HTTP/1.0 ends a body by hanging up.
			return false, &networkError{resp.Request.URL.Host, io.ErrUnexpectedEOF}
		case errors.Is(err, io.EOF):
			return length < 0, nil
		case err != nil:
			return false, err
		}
	}
}

// rangeLength checks a 206's Content-Range against what was asked for and gives
// the number of bytes that it announces. A server may send less than was asked.
func rangeLength(field string, first, last, size int64) (int64, error) {
	r, ok := parseContentRange(field)
	if !ok {
		return 0, fmt.Errorf("%w: Content-Range %q cannot be read", errBadRange, printable(field))
	}
	if r.total >= 0 && size >= 0 && r.total != size {
		return 0, fmt.Errorf("%w: it has %d bytes, not %d", errChanged, r.total, size)
	}
	if r.first != first || r.last > last {
		return 0, fmt.Errorf("%w: %d-%d instead of %d-%d", errBadRange, r.first, r.last, first, last)
	}
	return r.last - r.first + 1, nil
}

type contentRange struct {
	first, last int64
	// total is -1 where the server does not say.
	total int64
}

// parseContentRange reads "bytes 0-99/1234" or "bytes 0-99/*" (RFC 9110, 14.4).
func parseContentRange(s string) (contentRange, bool) {
	unit, rest, ok := strings.Cut(strings.TrimSpace(s), " ")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return contentRange{}, false
	}
	span, size, ok1 := strings.Cut(strings.TrimSpace(rest), "/")
	a, b, ok2 := strings.Cut(span, "-")
	if !ok1 || !ok2 {
		return contentRange{}, false
	}
	r := contentRange{total: -1}
	var okA, okB bool
	r.first, okA = digits(a)
	r.last, okB = digits(b)
	if !okA || !okB || r.first > r.last {
		return contentRange{}, false
	}
	if size != "*" {
		var okT bool
		if r.total, okT = digits(size); !okT || r.last >= r.total {
			return contentRange{}, false
		}
	}
	return r, true
}

// unsatisfiedTotal reads the size out of a 416's "bytes */1234".
func unsatisfiedTotal(s string) (int64, bool) {
	rest, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(s)), "bytes */")
	if !ok {
		return 0, false
	}
	return digits(rest)
}

// digits is a number as HTTP writes one: no sign, no space.
func digits(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err == nil && !strings.HasPrefix(s, "+") //nolint:gosec // 63 bits
}
