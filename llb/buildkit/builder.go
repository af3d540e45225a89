// Package buildkit talks to BuildKit: it connects to a builder, asks what it
// can do, collects the facts that only a builder can give, and solves a graph
// into an image. What to build is decided elsewhere (packages images and llb).
package buildkit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/policy"
	"github.com/moby/buildkit/client"
	_ "github.com/moby/buildkit/client/connhelper/dockercontainer" // docker-container://
	_ "github.com/moby/buildkit/client/connhelper/kubepod"         // kube-pod://
)

// Auto lets Dial take the BuildKit inside the Docker engine.
const Auto = "auto"

// dialTimeout is how long a builder may take to answer its first call.
const dialTimeout = 10 * time.Second

// Engine is what Dial needs of a Docker engine whose own BuildKit is used.
type Engine interface {
	DialHijack(ctx context.Context, url, proto string, meta map[string][]string) (net.Conn, error)
}

// Builder is a BuildKit that answered.
type Builder struct {
	client *client.Client
	// Address is what the builder was reached by, or Auto.
	Address string
	// Embedded is true for the BuildKit inside a Docker engine: its images are
	// the engine's, so that nothing has to be loaded.
	Embedded bool
	// Managed is true for a builder that this program started.
	Managed bool
	// platforms are those whose programs it can run, its own first.
	platforms []string
	// Policy is what its builds may use; nil for everything.
	Policy *policy.Policy
}

// TLS are the files for a tcp:// builder with mutual TLS; empty fields are not used.
type TLS struct {
	CACert, Cert, Key string
	// ServerName overrides the name that the server's certificate is checked for.
	ServerName string
}

// Dial connects to a builder and waits for its first answer. addr is Auto, or
// an address as BUILDKIT_HOST takes it: unix://, tcp://, docker-container://,
// kube-pod://. A builder that does not answer is a fault.Machine, an address
// that cannot be one a fault.Usage.
func Dial(ctx context.Context, addr string, engine Engine, tls TLS) (*Builder, error) {
	b := &Builder{Address: addr}
	var opts []client.ClientOpt
	target := addr
	switch addr {
	case "", Auto:
		if engine == nil {
			return nil, fault.New(fault.Machine, "there is no builder", errors.New("no Docker engine was found and none was named with --builder"),
				"run llorch-bk setup, or name a BuildKit with --builder ADDR")
		}
		b.Address, b.Embedded, target = Auto, true, ""
		opts = append(opts,
			client.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				return engine.DialHijack(ctx, "/grpc", "h2c", nil)
			}),
			client.WithSessionDialer(func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
				return engine.DialHijack(ctx, "/session", proto, meta)
			}))
	default:
		u, err := url.Parse(addr)
		if err != nil || u.Scheme == "" {
			return nil, fault.New(fault.Usage, fmt.Sprintf("%q is no address of a builder", addr), err,
				"--builder takes auto, managed, unix:///PATH, tcp://HOST:PORT, docker-container://NAME or kube-pod://NAME")
		}
		switch u.Scheme {
		case "unix", "tcp", "docker-container", "kube-pod":
		default:
			return nil, fault.New(fault.Usage, fmt.Sprintf("a builder cannot be reached by %s://", u.Scheme), nil,
				"--builder takes auto, managed, unix:///PATH, tcp://HOST:PORT, docker-container://NAME or kube-pod://NAME")
		}
		if tls.Cert != "" || tls.Key != "" {
			opts = append(opts, client.WithCredentials(tls.Cert, tls.Key))
		}
		if tls.CACert != "" {
			opts = append(opts, client.WithServerConfig(firstOf(tls.ServerName, u.Hostname()), tls.CACert))
		}
	}
	c, err := client.New(ctx, target, opts...)
	if err != nil {
		return nil, fault.New(fault.Usage, "the builder "+b.Address+" cannot be used", err, "check --builder and its TLS files")
	}
	b.client = c
	// New does not connect. Info is unknown to old builders, ListWorkers to none.
	answer, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	workers, err := c.ListWorkers(answer)
	if err != nil {
		c.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, unreachable(b, err)
	}
	b.platforms = platformsOf(workers)
	return b, nil
}

// Through connects to a builder over connections that dial opens, and waits for its
// first answer until ctx ends. name is the address that errors show.
func Through(ctx context.Context, name string, dial func(context.Context) (net.Conn, error)) (*Builder, error) {
	c, err := client.New(ctx, "", client.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }))
	if err != nil {
		return nil, err
	}
	workers, err := c.ListWorkers(ctx)
	if err != nil {
		c.Close()
		return nil, err
	}
	return &Builder{client: c, Address: name, platforms: platformsOf(workers)}, nil
}

// CacheSize returns what the builder's cache takes, in bytes.
func (b *Builder) CacheSize(ctx context.Context) (int64, error) {
	used, err := b.client.DiskUsage(ctx)
	var sum int64
	for _, u := range used {
		sum += u.Size
	}
	return sum, err
}

func unreachable(b *Builder, err error) error {
	if b.Embedded {
		return fault.New(fault.Machine, "the Docker engine's BuildKit does not answer", err,
			`an engine before 23.0 may need { "features": { "buildkit": true } } in its daemon.json; llorch-bk setup does that`)
	}
	do := "check that a buildkitd listens there"
	if path, ok := strings.CutPrefix(b.Address, "unix://"); ok {
		if _, statErr := os.Stat(path); errors.Is(statErr, os.ErrPermission) || errors.Is(err, os.ErrPermission) {
			do = "this user may not open the socket: use sudo, or the group that owns it"
		}
	}
	return fault.New(fault.Machine, "the builder "+b.Address+" does not answer", err, do)
}

// OneAtATime says that on this builder builds must take turns, and so must the steps
// of a build: the BuildKit inside engines of the 20.10 line can panic ("failed
// to get edge") over steps side by side that share what they stand on, within a
// build or between builds, and takes the whole engine with it (moby/moby#42414;
// seen here with six steps of one build). No OCI layouts marks that generation.
func (b *Builder) OneAtATime(caps llb.Capabilities) bool { return b.Embedded && !caps.OCILayout }

// Close ends the connection.
func (b *Builder) Close() error { return b.client.Close() }

// String names the builder for a person.
func (b *Builder) String() string {
	if b.Embedded {
		return "the Docker engine's BuildKit"
	}
	if b.Managed {
		return "llorch-bk's own builder"
	}
	return "BuildKit at " + b.Address
}

func firstOf(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}
