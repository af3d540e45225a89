package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

const (
	maxRedirects = 10
	userAgent    = "llorch-bk"
)

// errAddress does not repeat the address, whose query may be a secret.
var errAddress = errors.New("the address cannot be read")

// Credential is a token for one origin.
type Credential struct {
	// Origin is whom Token is for: it goes to this scheme, host and port and nowhere else.
	Origin *url.URL
	// Token is empty for none.
	Token string
}

// Follow decides about a redirect. Where it says no, the redirect itself is the answer.
type Follow func(answer *http.Response, to *url.URL) bool

func followAll(*http.Response, *url.URL) bool { return true }

// Send makes one request. It follows redirects by hand, so that a token reaches its
// origin and no other host. Reading the answer's body fails with ErrStalled when nothing
// comes for the stall time. Closing the body ends the request.
func (c *Client) Send(ctx context.Context, method, address string, header http.Header, ok Follow) (*http.Response, error) {
	return c.send(ctx, c.transport(false), method, address, header, ok)
}

func (c *Client) send(ctx context.Context, over http.RoundTripper, method, address string, header http.Header, ok Follow) (*http.Response, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errAddress
	}
	for range maxRedirects {
		resp, err := c.one(ctx, over, method, u, header)
		if err != nil {
			return nil, err
		}
		to, err := redirect(resp)
		if err != nil || to == nil {
			return resp, err
		}
		// Anybody on the way could swap the file or read a signed URL.
		if u.Scheme == "https" && to.Scheme != "https" {
			resp.Body.Close()
			return nil, fmt.Errorf("%s redirects to %s without encryption: %w", u.Host, to.Host, ErrRedirect)
		}
		if !ok(resp, to) {
			return resp, nil
		}
		_, _ = io.CopyN(io.Discard, resp.Body, 1<<16) // so that the connection is used again
		resp.Body.Close()
		u = to
	}
	return nil, fmt.Errorf("%w: %s sends more than %d redirects", ErrBadRedirect, u.Host, maxRedirects)
}

func (c *Client) one(ctx context.Context, over http.RoundTripper, method string, u *url.URL, header http.Header) (*http.Response, error) {
	w := watch(ctx, c.StallTime())
	req, err := http.NewRequestWithContext(w.ctx, method, u.String(), nil)
	if err != nil {
		w.end()
		return nil, errAddress
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", userAgent)
	// A hash and a range mean the file's own bytes, not a compressed form of them.
	req.Header.Set("Accept-Encoding", "identity")
	for _, t := range c.Tokens {
		if t.Token != "" && SameOrigin(u, t.Origin) {
			req.Header.Set("Authorization", "Bearer "+t.Token)
		}
	}
	w.arm()
	// A Client would follow redirects, and put whole URLs with their signatures into its
	// errors. RoundTrip does neither.
	resp, err := over.RoundTrip(req)
	w.disarm()
	if err != nil {
		defer w.end()
		return nil, w.explain(u.Host, err)
	}
	resp.Request = req
	resp.Body = &watchedBody{ReadCloser: resp.Body, host: u.Host, w: w}
	return resp, nil
}

// SameOrigin reports whether two URLs have the same scheme, host and port.
func SameOrigin(a, b *url.URL) bool {
	return b != nil && a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}
