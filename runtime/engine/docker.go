package engine

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/llorch/llorch-bk/images/fault"
)

// Docker runs servers on a Docker engine. It keeps nothing in memory that the
// engine does not know; many may work on one engine.
type Docker struct {
	api      API
	endpoint Endpoint
	copying  func(done, total int64)
}

// New returns a Docker for the engine behind api, which is at e. While a model
// has to be copied into the engine, copying is told the bytes done and to do;
// it may be nil, and is called from another goroutine than Start's.
func New(api API, e Endpoint, copying func(done, total int64)) *Docker {
	if copying == nil {
		copying = func(int64, int64) {}
	}
	return &Docker{api: api, endpoint: e, copying: copying}
}

// Facts is what an engine says of itself.
type Facts struct {
	// Version is the engine's; API is the version spoken with it.
	Version string `json:"version"`
	API     string `json:"api"`
	// Name is the engine's host name, OS the system's name in words.
	Name string `json:"name"`
	OS   string `json:"os"`
	// Arch is the engine's machine as uname says it ("x86_64").
	Arch string `json:"arch"`
	// CPUs and Memory (in bytes) are what containers can have.
	CPUs   int   `json:"cpus"`
	Memory int64 `json:"memory"`
	// LogDriver is the default one for containers.
	LogDriver string `json:"log_driver"`
	// Init is the name of the engine's init binary; empty where it has none.
	Init string `json:"init"`
	// Rootless is whether the engine runs as an ordinary user.
	Rootless bool `json:"rootless"`
	// NVIDIA is whether NVIDIA's runtime is registered with the engine.
	NVIDIA bool `json:"nvidia"`
}

// Facts asks the engine what it is.
func (d *Docker) Facts(ctx context.Context) (Facts, error) {
	i, err := d.api.Info(ctx)
	if err != nil {
		return Facts{}, d.lost(ctx, err)
	}
	f := Facts{
		Version: i.ServerVersion, API: d.api.ClientVersion(), Name: i.Name, OS: i.OperatingSystem,
		Arch: i.Architecture, CPUs: i.NCPU, Memory: i.MemTotal, LogDriver: i.LoggingDriver, Init: i.InitBinary,
	}
	for _, o := range i.SecurityOptions {
		f.Rootless = f.Rootless || strings.Contains(o, "rootless")
	}
	_, f.NVIDIA = i.Runtimes["nvidia"]
	return f, nil
}

// Endpoint is where the engine is.
func (d *Docker) Endpoint() Endpoint { return d.endpoint }

// Find gives the replica's server, running or not; nil where there is none.
func (d *Docker) Find(ctx context.Context, project, pool, replica string) (*Instance, error) {
	c, err := d.api.ContainerInspect(ctx, ContainerName(project, pool, replica))
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, d.lost(ctx, err)
	}
	return d.instance(c), nil
}

// List gives the servers of a project, or of all where project is empty, running
// or not, in the order of their names.
func (d *Docker) List(ctx context.Context, project string) ([]*Instance, error) {
	args := filters.NewArgs(filters.Arg("label", LabelPool))
	if project != "" {
		args.Add("label", LabelProject+"="+project)
	}
	found, err := d.api.ContainerList(ctx, container.ListOptions{All: true, Filters: args})
	if err != nil {
		return nil, d.lost(ctx, err)
	}
	var out []*Instance
	for _, s := range found {
		c, err := d.api.ContainerInspect(ctx, s.ID)
		if errdefs.IsNotFound(err) {
			continue // it went between the two questions
		}
		if err != nil {
			return nil, d.lost(ctx, err)
		}
		out = append(out, d.instance(c))
	}
	sortByName(out)
	return out, nil
}

// lost is the error for an engine that did not answer a plain question.
func (d *Docker) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fault.New(fault.Machine, "the Docker engine at "+d.endpoint.Host+" cannot do what is asked", err,
		"see whether it runs with `llorch-bk doctor`")
}

// aside is a context for what must be done though ctx may have ended: cleaning
// up, and requests that an engine carries out whether or not we stay to hear.
func aside(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), d)
}

// hostOf is the name of the machine that an engine's address points to.
func hostOf(address string) string {
	if u, err := url.Parse(address); err == nil && u.Hostname() != "" {
		return u.Hostname()
	}
	return DefaultListen
}
