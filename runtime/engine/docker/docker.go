package docker

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

// Engine is a Docker engine. It keeps nothing in memory that the engine does not
// know; many may work on one engine.
type Engine struct {
	api      API
	endpoint engine.Endpoint
	copying  func(done, total int64)
}

var _ engine.Engine = (*Engine)(nil)

// New returns an Engine for the engine behind api, which is at e. While a model
// has to be copied into the engine, copying is told the bytes done and to do;
// it may be nil, and is called from another goroutine than Prepare's.
func New(api API, e engine.Endpoint, copying func(done, total int64)) *Engine {
	if copying == nil {
		copying = func(int64, int64) {}
	}
	return &Engine{api: api, endpoint: e, copying: copying}
}

// Facts asks the engine what it is.
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

// Endpoint is where the engine is.
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
			continue // no such name, or it went between the two questions
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

// lost is the error for an engine that did not answer a plain question.
func (d *Engine) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fault.New(fault.Machine, "the Docker engine at "+d.endpoint.Host+" cannot do what is asked", err,
		"see whether it runs with `llorch-bk doctor`")
}

// detached is a context for what must be done though ctx may have ended: cleaning
// up, and requests that an engine carries out whether or not we stay to hear.
func detached(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), d)
}

// hostOf is the name of the machine that an engine's address points to.
func hostOf(address string) string {
	if u, err := url.Parse(address); err == nil && u.Hostname() != "" {
		return u.Hostname()
	}
	return engine.DefaultListen
}
