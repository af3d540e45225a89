package model

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"slices"
	"sync"
)

// carrier is what requests go over: for the pieces of a file, several connections.
func (f *Fetcher) carrier(pieces bool) http.RoundTripper {
	if f.Transport != nil {
		return f.Transport
	}
	key := carrierKey{f.Environment.Roots, pieces}
	known, ok := carriers.Load(key)
	if !ok {
		known, _ = carriers.LoadOrStore(key, newCarrier(key))
	}
	return known.(http.RoundTripper) //nolint:forcetypeassert // nothing else is put there
}

// carriers keep their connections between fetchers.
var carriers sync.Map

type carrierKey struct {
	roots  *x509.CertPool
	pieces bool
}

func newCarrier(key carrierKey) http.RoundTripper {
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
	// A connection of its own for each piece, which HTTP/2 would make one of.
	t.ForceAttemptHTTP2 = false
	t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	t.TLSClientConfig.NextProtos = slices.DeleteFunc(slices.Clone(t.TLSClientConfig.NextProtos), func(p string) bool { return p == "h2" })
	t.MaxIdleConnsPerHost, t.MaxConnsPerHost = connections, 0
	t.ReadBufferSize = 256 << 10
	return t
}
