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

// Unreached says that there is no way to a registry from here: its name is not
// known, or nothing listens there. It is the one cause for which something else may
// be taken in an image's place. A registry that refuses, that asks for patience or
// that does not answer in time has been reached, or may be in a minute.
type Unreached struct {
	Host string
	Err  error
}

func (u *Unreached) Error() string { return fmt.Sprintf("%s cannot be reached: %v", u.Host, u.Err) }

// Unwrap gives the network's error.
func (u *Unreached) Unwrap() error { return u.Err }

// reachTimeout is how long a registry may take to say anything at all.
const reachTimeout = 10 * time.Second

// Reach asks an image's registry for any answer: nil for one that gave it, Unreached
// where there is no way to it, and another error where that cannot be told.
//
// A builder's own error does not say: what it has passed through gRPC is Unknown,
// whether a name was not found or a password was wrong.
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
	return nil // It said something, if not HTTP.
}
