package buildkit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/distribution/reference"
)

// Unreached means that a registry cannot be reached from here: its name does not resolve, or
// nothing listens there. Only for this cause may another image replace the requested one. A
// registry that refuses, limits the rate or does not answer in time was reached, or may be
// reachable in a minute.
type Unreached struct {
	Host string
	Err  error
}

func (u *Unreached) Error() string { return fmt.Sprintf("cannot reach %s: %v", u.Host, u.Err) }

// Unwrap returns the network's error.
func (u *Unreached) Unwrap() error { return u.Err }

// reachTimeout is the time limit for any answer of a registry.
const reachTimeout = 10 * time.Second

// Reach asks an image's registry for any answer. It returns nil if there was one, Unreached
// if the registry is unreachable, and another error if that is unknown.
//
// A builder's own error does not tell: gRPC reports both a name that does not resolve and a
// wrong password as Unknown.
func Reach(ctx context.Context, ref string) error {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return err
	}
	host := reference.Domain(named)
	if host == "docker.io" {
		host = "registry-1.docker.io"
	}
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/v2/", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err == nil {
		resp.Body.Close()
		return nil
	}
	var lookup *net.DNSError
	var dial *net.OpError
	switch {
	case errors.As(err, &lookup) && !lookup.IsTimeout, errors.As(err, &dial) && dial.Op == "dial" && !dial.Timeout():
		return &Unreached{Host: host, Err: err}
	case ctx.Err() != nil || errors.As(err, &lookup) || errors.As(err, &dial) && dial.Timeout():
		return fmt.Errorf("%s does not answer in time", host)
	}
	return nil // There was an answer, though not HTTP.
}
