package app

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Advice follows from the cause; an unknown cause gets none.
func TestRegistryAdvice(t *testing.T) {
	t.Parallel()
	status := func(code int) error { return fmt.Errorf("pull: %w", &transport.Error{StatusCode: code}) }
	request := func(err error) error { return &url.Error{Op: "Get", URL: "https://r.example/v2/", Err: err} }
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"no login":        {status(http.StatusUnauthorized), "docker login"},
		"no access":       {status(http.StatusForbidden), "docker login"},
		"no such name":    {status(http.StatusNotFound), "check the name"},
		"too many":        {status(http.StatusTooManyRequests), "wait a while"},
		"registry failed": {status(http.StatusBadGateway), "try again later"},
		"refused request": {status(http.StatusBadRequest), ""},
		"unknown CA":      {request(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}), "--ca-cert"},
		"plain HTTP":      {request(http.ErrSchemeMismatch), "--insecure-registry"},
		"unreachable":     {request(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), "check the network"},
		"unknown":         {errors.New("something else"), ""},
	} {
		got := registryAdvice(c.err)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: the advice is %q, want %q", name, got, c.want)
		}
		if c.want != "check the network" && strings.Contains(got, "network and the proxy") {
			t.Errorf("%s: the advice %q blames the network", name, got)
		}
	}
}

func TestDiskAdvice(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing")
	for name, c := range map[string]struct {
		dir, other string
		err        error
		want       string
	}{
		"full":               {"/d", "", &fs.PathError{Op: "write", Path: "/d/f", Err: syscall.ENOSPC}, "free space on the disk of /d"},
		"not allowed":        {"/d", "use /e", &fs.PathError{Op: "open", Path: "/d/f", Err: syscall.EACCES}, "give this user access to /d, or use /e"},
		"read-only":          {"/d", "", &fs.PathError{Op: "open", Path: "/d/f", Err: syscall.EROFS}, "give this user access to /d"},
		"missing":            {missing, "", &fs.PathError{Op: "open", Path: missing, Err: syscall.ENOENT}, "create the folder " + missing},
		"unknown":            {"/d", "", errors.New("something else"), ""},
		"unknown, and other": {"/d", "use /e", errors.New("something else"), "use /e"},
	} {
		if got := diskAdvice(c.dir, c.other, c.err); got != c.want {
			t.Errorf("%s: the advice is %q, want %q", name, got, c.want)
		}
	}
}
