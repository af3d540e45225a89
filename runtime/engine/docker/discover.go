package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/cli/cli/config"
	ctxdocker "github.com/docker/cli/cli/context/docker"
	"github.com/docker/cli/cli/context/store"
	"github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

// Options say where to look for an engine.
type Options struct {
	// Host is the engine's address from the user ("unix:///…", "tcp://…", "ssh://…"); empty
	// to search like docker's CLI.
	Host string
	// ConfigDir is docker's configuration folder; empty for DOCKER_CONFIG, else .docker in
	// HOME.
	ConfigDir string
	// Getenv reads the environment; nil means an empty one. It is asked for DOCKER_HOST,
	// DOCKER_CONTEXT, DOCKER_CONFIG, DOCKER_TLS, DOCKER_TLS_VERIFY, DOCKER_CERT_PATH,
	// DOCKER_API_VERSION, XDG_RUNTIME_DIR and HOME.
	Getenv func(string) string
}

// candidate is an address where an engine may answer.
type candidate struct {
	engine.Endpoint
	tls     *tlsFiles
	headers map[string]string
}

// Discover finds an engine like docker's CLI and returns a client with a negotiated API
// version. If the user named an engine (Host, DOCKER_HOST or a context), it tries only that
// one, else the usual sockets in order. Only ssh needs the docker CLI, on the remote side.
func Discover(ctx context.Context, o Options) (*client.Client, engine.Endpoint, error) {
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	found, named, err := candidates(o)
	if err != nil {
		return nil, engine.Endpoint{}, err
	}
	var tried []string
	var errs []error
	var closed error // the first engine that refuses this user
	for _, c := range found {
		api, err := connect(ctx, c, o.Getenv("DOCKER_API_VERSION"))
		if err == nil {
			return api, c.Endpoint, nil
		}
		if ctx.Err() != nil {
			return nil, engine.Endpoint{}, context.Cause(ctx)
		}
		if closed == nil && errors.Is(err, fs.ErrPermission) {
			closed = forbidden(c.Endpoint, err)
		}
		tried = append(tried, c.Host)
		errs = append(errs, fmt.Errorf("%s (%s): %w", c.Host, c.Source, err))
	}
	if closed != nil {
		return nil, engine.Endpoint{}, closed
	}
	return nil, engine.Endpoint{}, absent(named, tried, errs)
}

// Address is the first address that Discover would try, and whether the user chose it
// (DOCKER_HOST, a context). It makes no request.
func Address(o Options) (host string, chosen bool, err error) {
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	found, chosen, err := candidates(o)
	if err != nil || len(found) == 0 {
		return "", chosen, err
	}
	return found[0].Host, chosen, nil
}

func forbidden(e engine.Endpoint, err error) error {
	return fault.New(fault.Machine, "this user may not use the Docker engine at "+e.Host, err,
		"join its group with `sudo usermod -aG docker $USER` and log in again, or use sudo")
}

func absent(named bool, tried []string, errs []error) error {
	if named {
		return fault.New(fault.Machine, "the chosen Docker engine does not answer", errors.Join(errs...),
			"start the engine, or correct its address")
	}
	why := errors.New("tried " + strings.Join(tried, ", "))
	return fault.New(fault.Machine, "no Docker engine was found", why,
		"run `llorch-bk setup`, or set DOCKER_HOST to the engine's address")
}

// connect returns a client after the engine answered a ping.
func connect(ctx context.Context, c candidate, version string) (*client.Client, error) {
	opts, patience, err := c.clientOpts()
	if err != nil {
		return nil, err
	}
	if path, ok := strings.CutPrefix(c.Host, "unix://"); ok {
		// Report a missing socket directly: the client's own message asks whether the daemon
		// is running.
		if _, err := os.Stat(path); err != nil {
			return nil, err
		}
	}
	opts = append(opts, client.WithAPIVersionNegotiation(), client.WithVersion(version))
	if len(c.headers) > 0 {
		opts = append(opts, client.WithHTTPHeaders(c.headers))
	}
	api, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ping, err := api.Ping(ctx)
	if err != nil {
		return nil, errors.Join(err, api.Close())
	}
	api.NegotiateAPIVersionPing(ping)
	return api, nil
}

// candidates are the addresses to try, best first. named is true if the user chose the only
// one.
func candidates(o Options) (found []candidate, named bool, err error) {
	dir := o.ConfigDir
	if dir == "" {
		dir = o.Getenv("DOCKER_CONFIG")
	}
	if dir == "" && o.Getenv("HOME") != "" {
		dir = filepath.Join(o.Getenv("HOME"), ".docker")
	}
	current, headers, err := readConfig(dir)
	if err != nil {
		return nil, false, err
	}
	one := func(c candidate) ([]candidate, bool, error) {
		c.Local = isLocal(c.Host)
		c.headers = headers
		return []candidate{c}, true, nil
	}
	for _, v := range []struct{ host, source string }{{o.Host, "given"}, {o.Getenv("DOCKER_HOST"), "DOCKER_HOST"}} {
		if v.host == "" {
			continue
		}
		if _, err := client.ParseHostURL(v.host); err != nil {
			return nil, true, fault.New(fault.Usage, fmt.Sprintf("%q is not an engine's address", v.host), nil,
				"write it as unix:///path, tcp://host:port or ssh://user@host")
		}
		return one(candidate{Endpoint: engine.Endpoint{Host: v.host, Source: v.source}, tls: tlsFromEnv(o.Getenv, dir)})
	}
	// DOCKER_HOST beats DOCKER_CONTEXT beats the configuration, as in the CLI.
	for _, name := range []string{o.Getenv("DOCKER_CONTEXT"), current} {
		if name == "" {
			continue
		}
		if name == "default" {
			break
		}
		c, err := fromContext(dir, name)
		if err != nil {
			return nil, true, fault.New(fault.Machine, "cannot use the docker context "+name, err,
				"choose one from `docker context ls`, or set DOCKER_HOST")
		}
		return one(c)
	}
	for _, s := range sockets(o.Getenv) {
		found = append(found, candidate{Endpoint: engine.Endpoint{Host: "unix://" + s.path, Source: s.what, Local: true}, headers: headers})
	}
	return found, false, nil
}

type socket struct{ path, what string }

// sockets are the usual sockets of engines: the system's, then the user's rootless engine,
// then those of common virtual machines.
func sockets(getenv func(string) string) []socket {
	list := []socket{{"/var/run/docker.sock", "the default socket"}}
	if run := getenv("XDG_RUNTIME_DIR"); run != "" {
		list = append(list, socket{filepath.Join(run, "docker.sock"), "the rootless engine's socket"})
	}
	if home := getenv("HOME"); home != "" {
		for _, s := range []socket{
			{".docker/run/docker.sock", "Docker Desktop's socket"},
			{".docker/desktop/docker.sock", "Docker Desktop's socket"},
			{".colima/default/docker.sock", "Colima's socket"},
			{".orbstack/run/docker.sock", "OrbStack's socket"},
			{".rd/docker.sock", "Rancher Desktop's socket"},
		} {
			list = append(list, socket{filepath.Join(home, s.path), s.what})
		}
	}
	return list
}

// readConfig returns the current context and the headers from docker's config.json; empty if
// there is no such file.
func readConfig(dir string) (current string, headers map[string]string, err error) {
	if dir == "" {
		return "", nil, nil
	}
	f, err := os.Open(filepath.Join(dir, config.ConfigFileName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	}
	if err == nil {
		defer f.Close()
		cfg, loadErr := config.LoadFromReader(f)
		if loadErr == nil {
			return cfg.CurrentContext, cfg.HTTPHeaders, nil
		}
		err = loadErr
	}
	return "", nil, fault.New(fault.Machine, "cannot read docker's configuration in "+dir, err, "correct its config.json")
}

// fromContext reads a context from the store of docker's CLI.
func fromContext(dir, name string) (candidate, error) {
	endpoint := store.EndpointTypeGetter(ctxdocker.DockerEndpoint, func() any { return &ctxdocker.EndpointMeta{} })
	s := store.New(filepath.Join(dir, "contexts"), store.NewConfig(func() any { return &map[string]any{} }, endpoint))
	meta, err := s.GetMetadata(name)
	if err != nil {
		return candidate{}, err
	}
	ep, err := ctxdocker.EndpointFromContext(meta)
	if err != nil {
		return candidate{}, err
	}
	with, err := ctxdocker.WithTLSData(s, name, ep)
	if err != nil {
		return candidate{}, err
	}
	c := candidate{Endpoint: engine.Endpoint{Host: ep.Host, Source: "the context " + name}}
	if with.TLSData != nil || ep.SkipTLSVerify {
		c.tls = &tlsFiles{insecure: ep.SkipTLSVerify}
		if d := with.TLSData; d != nil {
			c.tls.ca, c.tls.cert, c.tls.key = d.CA, d.Cert, d.Key
		}
	}
	return c, nil
}

// isLocal reports whether an engine at host publishes loopback ports on this machine.
func isLocal(host string) bool {
	u, err := url.Parse(host)
	if err != nil {
		return false
	}
	switch u.Scheme {
	case "unix", "npipe":
		return true
	case "tcp", "http", "https":
		name := u.Hostname()
		addr, err := netip.ParseAddr(name)
		return name == "localhost" || err == nil && addr.IsLoopback()
	}
	return false
}
