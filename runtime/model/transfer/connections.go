package transfer

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"slices"
	"sync"
)

// shared keeps transports, and so their connections, between clients.
var shared sync.Map

type sharedKey struct {
	roots  *x509.CertPool
	pieces bool
}

// Connections is what requests for the pieces of a file go over: a connection each.
func (c *Client) Connections() http.RoundTripper { return c.transport(true) }

// over is what a file's own requests go over.
func (c *Client) over(src Source, pieces bool) http.RoundTripper {
	if src.Transport != nil {
		return src.Transport
	}
	return c.transport(pieces)
}

func (c *Client) transport(pieces bool) http.RoundTripper {
	if c.Transport != nil {
		return c.Transport
	}
	key := sharedKey{c.Roots, pieces}
	known, ok := shared.Load(key)
	if !ok {
		known, _ = shared.LoadOrStore(key, newTransport(key))
	}
	return known.(http.RoundTripper) //nolint:forcetypeassert // nothing else is put there
}

func newTransport(key sharedKey) http.RoundTripper {
	base, ok := http.DefaultTransport.(*http.Transport)
	if !ok || (key.roots == nil && !key.pieces) {
		return http.DefaultTransport
	}
	t := base.Clone()
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if key.roots != nil {
		t.TLSClientConfig.RootCAs = key.roots
	}
	if !key.pieces {
		return t
	}
	// Each piece needs its own connection. HTTP/2 would send all over one.
	t.ForceAttemptHTTP2 = false
	t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	t.TLSClientConfig.NextProtos = slices.DeleteFunc(slices.Clone(t.TLSClientConfig.NextProtos), func(p string) bool { return p == "h2" })
	t.MaxIdleConnsPerHost, t.MaxConnsPerHost = connections, 0
	t.ReadBufferSize = 256 << 10
	return t
}
