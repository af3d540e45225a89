package model

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	maxRedirects = 10
	userAgent    = "llorch-bk"
)

var (
	errStalled  = errors.New("the server stopped sending")
	errRedirect = errors.New("a redirect that is not followed")
)

// networkError is a conversation with a host that broke. Trying again may help.
type networkError struct {
	host string
	err  error
}

func (e *networkError) Error() string { return fmt.Sprintf("%s: %v", e.host, e.err) }
func (e *networkError) Unwrap() error { return e.err }

// statusError is an answer that is not the one asked for.
type statusError struct {
	code int
	host string
	// redirected says that not the host which was asked answered, but one that it redirected to.
	redirected bool
	// reason and detail are the Hub's X-Error-Code and X-Error-Message.
	reason, detail string
	// wait is how long the server asks to be left alone, 0 where it does not say.
	wait time.Duration
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("%s answered %d %s", e.host, e.code, http.StatusText(e.code))
	if e.reason != "" {
		s += " (" + e.reason + ")"
	}
	if e.detail != "" {
		s += ": " + e.detail
	}
	return s
}

// transport sends single requests. It follows redirects by hand, so that the
// token reaches the endpoint and no other host.
type transport struct {
	base     http.RoundTripper
	endpoint *url.URL
	token    string
	stall    time.Duration
}

// follow decides about a redirect; where it says no, the redirect itself is the answer.
type follow func(answer *http.Response, to *url.URL) bool

func followAll(*http.Response, *url.URL) bool { return true }

// send makes one request and follows its redirects. The answer's body fails with
// errStalled when nothing comes for the stall time; closing it ends the request.
func (t *transport) send(ctx context.Context, method, address string, header http.Header, ok follow) (*http.Response, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("an address that cannot be read")
	}
	for range maxRedirects {
		resp, err := t.one(ctx, method, u, header)
		if err != nil {
			return nil, err
		}
		to, err := redirect(resp)
		if err != nil || to == nil {
			return resp, err
		}
		// Whoever listens on the way could swap the file or read a signed URL.
		if u.Scheme == "https" && to.Scheme != "https" {
			resp.Body.Close()
			return nil, fmt.Errorf("%s redirects to %s without encryption: %w", u.Host, to.Host, errRedirect)
		}
		if !ok(resp, to) {
			return resp, nil
		}
		_, _ = io.CopyN(io.Discard, resp.Body, 1<<16) // so that the connection is used again
		resp.Body.Close()
		u = to
	}
	return nil, fmt.Errorf("%s: more than %d redirects: %w", u.Host, maxRedirects, errRedirect)
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
		return nil, fmt.Errorf("%s redirects to nowhere: %w", resp.Request.URL.Host, errRedirect)
	}
	return to, nil
}

func (t *transport) one(ctx context.Context, method string, u *url.URL, header http.Header) (*http.Response, error) {
	w := watch(ctx, t.stall)
	req, err := http.NewRequestWithContext(w.ctx, method, u.String(), nil)
	if err != nil {
		w.end()
		return nil, errors.New("an address that cannot be asked")
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", userAgent)
	// A hash and a range mean the file's own bytes, not a compressed form of them.
	req.Header.Set("Accept-Encoding", "identity")
	if t.token != "" && sameOrigin(u, t.endpoint) {
		req.Header.Set("Authorization", "Bearer "+t.token)
	}
	w.arm()
	// RoundTrip and not a Client: a Client follows redirects, and puts whole
	// URLs, signatures included, into its errors.
	resp, err := t.base.RoundTrip(req)
	w.disarm()
	if err != nil {
		defer w.end()
		return nil, w.explain(u.Host, err)
	}
	resp.Request = req
	resp.Body = &watchedBody{ReadCloser: resp.Body, host: u.Host, w: w}
	return resp, nil
}

// failure makes an error of an answer that is no success, and closes it.
func failure(resp *http.Response, asked string) error {
	resp.Body.Close()
	u, err := url.Parse(asked)
	return &statusError{
		code: resp.StatusCode, host: resp.Request.URL.Host,
		redirected: err == nil && !sameOrigin(resp.Request.URL, u),
		reason:     printable(resp.Header.Get("X-Error-Code")),
		detail:     printable(resp.Header.Get("X-Error-Message")),
		wait:       serverWait(resp.Header, time.Now()),
	}
}

func sameOrigin(a, b *url.URL) bool {
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

// printable is a server's text, fit for one line of a terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if isControl(r) || (r >= 0x80 && r < 0xa0) {
			return -1
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200]) + "…"
	}
	return s
}

// watcher ends a request that makes no progress.
type watcher struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
}

func watch(parent context.Context, stall time.Duration) *watcher {
	ctx, cancel := context.WithCancelCause(parent)
	w := &watcher{ctx: ctx, cancel: cancel, stall: stall}
	w.timer = time.AfterFunc(stall, func() { cancel(errStalled) })
	w.timer.Stop()
	return w
}

func (w *watcher) arm()    { w.timer.Reset(w.stall) }
func (w *watcher) disarm() { w.timer.Stop() }
func (w *watcher) end()    { w.timer.Stop(); w.cancel(nil) }

// explain puts the reason for an ended request in the place of "context canceled".
func (w *watcher) explain(host string, err error) error {
	if cause := context.Cause(w.ctx); cause != nil {
		if errors.Is(cause, errStalled) {
			return &networkError{host, fmt.Errorf("%w for %v", errStalled, w.stall)}
		}
		return cause
	}
	if isCertificate(err) {
		return fmt.Errorf("%s: %w", host, err)
	}
	return &networkError{host, err}
}

// progressBytes is what has to come for it to be progress: a server that sends a
// byte now and then is as good as one that sends none.
const progressBytes = 4 << 10

type watchedBody struct {
	io.ReadCloser
	host string
	w    *watcher
	// waited is how long the network was waited for since there was progress, and
	// came what came in that time.
	waited time.Duration
	came   int
}

// Read counts as progress only what the network does, not the time that the
// caller takes between two reads.
func (b *watchedBody) Read(p []byte) (int, error) {
	began := time.Now()
	b.w.timer.Reset(max(b.w.stall-b.waited, time.Millisecond))
	n, err := b.ReadCloser.Read(p)
	b.w.disarm()
	b.waited, b.came = b.waited+time.Since(began), b.came+n
	if b.came >= progressBytes {
		b.waited, b.came = 0, 0
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.w.explain(b.host, err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	defer b.w.end()
	return b.ReadCloser.Close()
}

// isCertificate says whether a server could not prove who it is, which trying
// again does not cure.
func isCertificate(err error) bool {
	var c *tls.CertificateVerificationError
	return errors.As(err, &c)
}
