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

// secretMax is the most that BuildKit takes as a secret.
const secretMax = 500 << 10

// certificates reads a file of certificates. Without a name it is the one that the
// environment tells OpenSSL's programs, and Go's, to trust; if that is none, it is
// theirs to complain about.
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
		err = fmt.Errorf("it is larger than the %d bytes that BuildKit takes", secretMax)
	}
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
		err = errors.New("it has no certificate in PEM form")
	}
	if err != nil {
		return nil, fault.New(fault.Usage, "--ca-cert "+file+" cannot be used", err, "give a file that begins with -----BEGIN CERTIFICATE-----")
	}
	return pem, nil
}

// proxy is what the environment says of the way out of this network.
func (a *App) proxy() llb.Proxy {
	get := func(name string) string {
		if v := a.Getenv(strings.ToLower(name)); v != "" {
			return v
		}
		return a.Getenv(name)
	}
	return llb.Proxy{HTTP: get("HTTP_PROXY"), HTTPS: get("HTTPS_PROXY"), FTP: get("FTP_PROXY"), No: get("NO_PROXY"), All: get("ALL_PROXY")}
}

// roots are the authorities that this machine trusts, and a network's own.
func roots(caCert []byte) *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM(caCert)
	return pool
}

// trusting carries requests of this program itself, which trust a network's own
// authority as the steps do; nil where there is none to trust.
func trusting(caCert []byte) http.RoundTripper {
	if len(caCert) == 0 {
		return nil
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: roots(caCert), MinVersion: tls.VersionTLS12}
	return t
}
