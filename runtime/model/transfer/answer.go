package transfer

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

// reply is what an answer to a request for a range gives.
type reply struct {
	// whole says that the body is the whole file and not the range.
	whole bool
	// length of the body in bytes, -1 where nobody knows it.
	length int64
	// refused says that the server has no such range, though the file's size is as it was.
	refused bool
}

// judge looks at the answer to a request for the bytes first to last of a file.
func judge(resp *http.Response, src Source, first, last int64) (reply, error) {
	host := resp.Request.URL.Host
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return reply{}, fmt.Errorf("%s sends the file with Content-Encoding %s, though asked not to", host, fault.Printable(enc))
	}
	if now := validator(resp.Header); src.Validator != "" && now != "" && now != src.Validator && resp.StatusCode < 300 {
		return reply{}, ErrChanged
	}
	switch resp.StatusCode {
	case http.StatusPartialContent:
		n, err := rangeLength(resp.Header.Get("Content-Range"), first, last, src.Size)
		return reply{length: n}, err
	case http.StatusOK:
		return reply{whole: true, length: src.Size}, nil
	case http.StatusRequestedRangeNotSatisfiable:
		if total, ok := unsatisfiedTotal(resp.Header.Get("Content-Range")); ok && total != src.Size {
			return reply{}, fmt.Errorf("%w: it has %d bytes now, not %d", ErrChanged, total, src.Size)
		}
		return reply{refused: true}, fmt.Errorf("%w: %s refuses it", ErrBadRange, host)
	}
	return reply{}, Failure(resp, src.Address)
}

// judgeWhole looks at an answer with the whole file, by its headers.
func judgeWhole(resp *http.Response, size int64) error {
	if size < 0 || resp.ContentLength < 0 || resp.ContentLength == size {
		return nil
	}
	if isHTML(resp, nil) {
		return errHTML
	}
	return fmt.Errorf("%w: it has %d bytes, not %d", ErrChanged, resp.ContentLength, size)
}

// errHTML is a web page in the place of a file.
var errHTML = fmt.Errorf("it is an HTML page: %w", gguf.ErrNotModel)

// judgeHead looks at a file's first bytes, so that no bulk is fetched that is not a model.
func judgeHead(resp *http.Response, head []byte) error {
	if isHTML(resp, head) {
		return errHTML
	}
	return gguf.Check(head)
}

// isHTML reports whether an answer is a web page, by its headers or its first bytes.
func isHTML(resp *http.Response, head []byte) bool {
	kind := strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Type")))
	return strings.HasPrefix(kind, "text/html") || gguf.IsHTML(head)
}

// Failure closes an answer that is no success, and makes an error of it. Asked is the
// address that the request went to first.
func Failure(resp *http.Response, asked string) error {
	resp.Body.Close()
	u, err := url.Parse(asked)
	return &StatusError{
		Code: resp.StatusCode, Host: resp.Request.URL.Host,
		Redirected: err == nil && !SameOrigin(resp.Request.URL, u),
		Reason:     fault.Printable(resp.Header.Get("X-Error-Code")),
		Detail:     fault.Printable(resp.Header.Get("X-Error-Message")),
		Wait:       serverWait(resp.Header, time.Now()),
	}
}

// redirect is where an answer points to, nil for one that does not redirect.
func redirect(resp *http.Response) (*url.URL, error) {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, nil //nolint:nilnil // no redirect is no error
	}
	to, err := resp.Location()
	if err != nil || to.Host == "" || (to.Scheme != "http" && to.Scheme != "https") {
		resp.Body.Close()
		return nil, fmt.Errorf("%s redirects to nowhere: %w", resp.Request.URL.Host, ErrRedirect)
	}
	return to, nil
}

// validator is a value for If-Range: a strong ETag, else the date of the last change.
func validator(h http.Header) string {
	if e := h.Get("ETag"); e != "" {
		if strings.HasPrefix(e, `"`) {
			return e
		}
		return ""
	}
	return h.Get("Last-Modified")
}

var resetIn = regexp.MustCompile(`(?:^|[;,\s])t=(\d{1,9})(?:$|[;,\s])`)

// serverWait is how long a server asks to be left alone: by the Hub's RateLimit field,
// whose t is the seconds until the window ends, else by Retry-After.
func serverWait(h http.Header, now time.Time) time.Duration {
	if m := resetIn.FindStringSubmatch(h.Get("RateLimit")); m != nil {
		n, _ := strconv.Atoi(m[1])
		return time.Duration(n+1) * time.Second
	}
	v := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second //nolint:gosec // 31 bits of seconds fit
	}
	if at, err := http.ParseTime(v); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}
