package docker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/cli/cli/connhelper"
	"github.com/docker/docker/client"
	"github.com/docker/go-connections/tlsconfig"
)

// How long an engine may take to answer its first request.
const (
	localPatience  = 5 * time.Second
	remotePatience = 20 * time.Second
)

// tlsFiles are the PEM files for a TLS connection to an engine.
type tlsFiles struct {
	ca, cert, key []byte
	// insecure is true if the user turned off server verification.
	insecure bool
	// dir is the folder to read the three from; empty if they are set.
	dir string
}

// tlsFromEnv reads the environment like docker's CLI: either variable turns TLS on, and only
// DOCKER_TLS_VERIFY verifies the server. Nil means no TLS.
func tlsFromEnv(getenv func(string) string, configDir string) *tlsFiles {
	verify := getenv("DOCKER_TLS_VERIFY") != ""
	if !verify && getenv("DOCKER_TLS") == "" {
		return nil
	}
	dir := getenv("DOCKER_CERT_PATH")
	if dir == "" {
		dir = configDir
	}
	return &tlsFiles{dir: dir, insecure: !verify}
}

func (t *tlsFiles) read() error {
	if t.dir == "" {
		return nil
	}
	for _, f := range []struct {
		name string
		to   *[]byte
	}{{"ca.pem", &t.ca}, {"cert.pem", &t.cert}, {"key.pem", &t.key}} {
		pem, err := os.ReadFile(filepath.Join(t.dir, f.name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		*f.to = pem
	}
	return nil
}

func (t *tlsFiles) config() (*tls.Config, error) {
	if err := t.read(); err != nil {
		return nil, err
	}
	c := tlsconfig.ClientDefault()
	c.InsecureSkipVerify = t.insecure //nolint:gosec // only when the user's docker configuration says so
	if t.ca != nil {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(t.ca) {
			return nil, errors.New("ca.pem has no certificate")
		}
	}
	if t.cert != nil && t.key != nil {
		pair, err := tls.X509KeyPair(t.cert, t.key)
		if err != nil {
			return nil, fmt.Errorf("cannot use the client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// clientOpts returns the options to reach c, and how long its first answer may take.
func (c candidate) clientOpts() ([]client.Opt, time.Duration, error) {
	helper, err := connhelper.GetConnectionHelper(c.Host)
	if err != nil {
		return nil, 0, err
	}
	if helper != nil {
		transport := &http.Transport{DialContext: helper.Dialer}
		return []client.Opt{
			client.WithHTTPClient(&http.Client{Transport: transport}),
			client.WithHost(helper.Host),
			client.WithDialContext(helper.Dialer),
		}, remotePatience, nil
	}
	patience := localPatience
	if !isLocal(c.Host) {
		patience = remotePatience
	}
	if c.tls == nil || strings.HasPrefix(c.Host, "unix://") || strings.HasPrefix(c.Host, "npipe://") {
		return []client.Opt{client.WithHost(c.Host)}, patience, nil
	}
	conf, err := c.tls.config()
	if err != nil {
		return nil, 0, err
	}
	dialer := &net.Dialer{Timeout: patience, KeepAlive: 30 * time.Second}
	return []client.Opt{
		client.WithHTTPClient(&http.Client{
			Transport:     &http.Transport{TLSClientConfig: conf, DialContext: dialer.DialContext},
			CheckRedirect: client.CheckRedirect,
		}),
		client.WithHost(c.Host),
	}, patience, nil
}
