package app

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb"
)

// secretMax is the largest secret that BuildKit takes, in bytes.
const secretMax = 500 << 10

// certificates reads a PEM file of CA certificates. Without a name it reads SSL_CERT_FILE,
// as OpenSSL and Go do, and ignores a file that it cannot use: those programs report it.
func (a *App) certificates(file string) ([]byte, error) {
	if file == "" {
		pem, err := os.ReadFile(a.Getenv("SSL_CERT_FILE"))
		if err != nil || len(pem) > secretMax || !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return nil, nil //nolint:nilerr // See above.
		}
		return pem, nil
	}
	pem, err := os.ReadFile(file)
	if err == nil && len(pem) > secretMax {
		err = fmt.Errorf("it is larger than %d bytes, the most that BuildKit takes", secretMax)
	}
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
		err = errors.New("it has no PEM certificate")
	}
	if err != nil {
		return nil, fault.New(fault.Usage, "cannot use --ca-cert "+file, err, "name a PEM file; it has lines with -----BEGIN CERTIFICATE-----")
	}
	return pem, nil
}

// proxy reads the proxy settings from the environment.
func (a *App) proxy() llb.Proxy {
	get := func(name string) string {
		if v := a.Getenv(strings.ToLower(name)); v != "" {
			return v
		}
		return a.Getenv(name)
	}
	return llb.Proxy{HTTP: get("HTTP_PROXY"), HTTPS: get("HTTPS_PROXY"), FTP: get("FTP_PROXY"), No: get("NO_PROXY"), All: get("ALL_PROXY")}
}

// roots are the system's CA certificates and those in caCert.
func roots(caCert []byte) *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM(caCert)
	return pool
}

// trusting returns a transport for this program's own requests that also trusts the
// certificates in caCert; nil if there are none.
func trusting(caCert []byte) http.RoundTripper {
	if len(caCert) == 0 {
		return nil
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: roots(caCert), MinVersion: tls.VersionTLS12}
	return t
}
