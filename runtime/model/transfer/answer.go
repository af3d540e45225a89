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
	if enc := encoding(resp.Header); enc != "" {
		return reply{}, fmt.Errorf("%w: %s sends the file with Content-Encoding %s", ErrEncoded, host, enc)
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

// judgeWhole looks at an answer with the whole file, by its length. Where that is wrong, the
// first bytes of the body say whether it is a web page.
func judgeWhole(resp *http.Response, size int64) error {
	if size < 0 || resp.ContentLength < 0 || resp.ContentLength == size {
		return nil
	}
	if err := pageInstead(resp); err != nil {
		return err
	}
	return fmt.Errorf("%w: it has %d bytes, not %d", ErrChanged, resp.ContentLength, size)
}

// encoding is the form in which a body comes that is not the file's own bytes; empty where
// it is.
func encoding(h http.Header) string {
	enc := h.Get("Content-Encoding")
	if strings.EqualFold(enc, "identity") {
		return ""
	}
	return fault.Printable(enc)
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
		return nil, fmt.Errorf("%w: %s redirects to nowhere", ErrBadRedirect, resp.Request.URL.Host)
	}
	return to, nil
}

// settled is how much older than an answer a file's date must be to tell its versions
// apart. A date counts in seconds, and the clocks of two servers differ (RFC 9110, 8.8.2.2).
const settled = time.Minute

// validator is a value for If-Range: a strong ETag, else the date of the last change where
// it is strong too. It is empty where nothing tells two versions of a file apart for sure.
func validator(h http.Header) string {
	if h.Get("ETag") != "" {
		return StrongETag(h)
	}
	changed, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil {
		return ""
	}
	if now, err := http.ParseTime(h.Get("Date")); err != nil || now.Sub(changed) < settled {
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
