package docker

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

// Engine is a Docker engine. It has no state besides the engine's own, so several may use
// one engine.
type Engine struct {
	api      API
	endpoint engine.Endpoint
	copying  func(done, total int64)
}

var _ engine.Engine = (*Engine)(nil)

// New returns an Engine for the engine behind api at e. While a model is copied into the
// engine, copying is called with the bytes done and the total, from another goroutine than
// Prepare's. It may be nil.
func New(api API, e engine.Endpoint, copying func(done, total int64)) *Engine {
	if copying == nil {
		copying = func(int64, int64) {}
	}
	return &Engine{api: api, endpoint: e, copying: copying}
}

// Facts asks the engine for its version, size and features.
func (d *Engine) Facts(ctx context.Context) (engine.Facts, error) {
	i, err := d.api.Info(ctx)
	if err != nil {
		return engine.Facts{}, d.lost(ctx, err)
	}
	f := engine.Facts{
		ID: i.ID, Version: i.ServerVersion, API: d.api.ClientVersion(), Name: i.Name, OS: i.OperatingSystem,
		Arch: i.Architecture, CPUs: i.NCPU, Memory: i.MemTotal, LogDriver: i.LoggingDriver, Init: i.InitBinary,
	}
	for _, o := range i.SecurityOptions {
		f.Rootless = f.Rootless || strings.Contains(o, "rootless")
	}
	_, f.NVIDIA = nvidiaAccess(i)
	return f, nil
}

// Endpoint is the engine's address.
func (d *Engine) Endpoint() engine.Endpoint { return d.endpoint }

// Observe implements engine.Observer.
func (d *Engine) Observe(ctx context.Context, project string, names ...string) ([]engine.Server, error) {
	args := filters.NewArgs(filters.Arg("label", LabelPool))
	if project != "" {
		args.Add("label", LabelProject+"="+project)
	}
	found, err := d.api.ContainerList(ctx, container.ListOptions{All: true, Filters: args})
	if err != nil {
		return nil, d.lost(ctx, err)
	}
	var wanted []string
	for _, c := range found {
		wanted = append(wanted, c.ID)
	}
	var out []engine.Server
	for _, name := range append(wanted, names...) {
		c, err := d.api.ContainerInspect(ctx, name)
		if errdefs.IsNotFound(err) {
			continue // no such name, or removed since the list was read
		}
		if err != nil {
			return nil, d.lost(ctx, err)
		}
		s := serverOf(c)
		if !slices.ContainsFunc(out, func(o engine.Server) bool { return o.ID == s.ID }) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b engine.Server) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// lost is the error of a request that an engine did not answer properly.
func (d *Engine) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fault.New(fault.Machine, "a request to the Docker engine at "+d.endpoint.Host+" failed", err, unreachableAdvice(err))
}

// unreachableAdvice says what to do if the engine cannot be reached; empty for any other
// cause.
func unreachableAdvice(err error) string {
	if client.IsErrConnectionFailed(err) || errors.Is(err, context.DeadlineExceeded) {
		return "find out why it does not answer with `llorch-bk doctor`"
	}
	return ""
}

// detached returns a context for work that must continue after ctx has ended: clean-ups, and
// requests that an engine completes whether or not the client waits.
func detached(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), d)
}

// hostOf is the host name in an engine's address.
func hostOf(address string) string {
	if u, err := url.Parse(address); err == nil && u.Hostname() != "" {
		return u.Hostname()
	}
	return engine.DefaultListen
}
