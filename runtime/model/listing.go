package model

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/hub"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// hub asks the hub that a site is at in the environment.
func (f *Fetcher) hub(site ref.Site) *hub.Client {
	e, c := f.Environment, &hub.Client{Transfer: f.client()}
	if site == ref.ModelScope {
		c.Endpoint, c.EndpointFrom = e.ModelScope, "MODELSCOPE_ENDPOINT"
		c.TokenFrom, c.TokenPage, c.HasToken = "MODELSCOPE_API_TOKEN", "/my/myaccesstoken", e.ModelScopeToken != ""
	} else {
		c.Endpoint, c.EndpointFrom = e.Endpoint, "HF_ENDPOINT"
		c.TokenFrom, c.TokenPage, c.HasToken = "HF_TOKEN", "/settings/tokens", e.Token != ""
	}
	if c.Endpoint == DefaultEndpoint || c.Endpoint == DefaultModelScope {
		c.EndpointFrom = ""
	}
	return c
}

// list asks the Hub what a repository has, which is shown as a step of its own.
func (f *Fetcher) list(ctx context.Context, r Ref, retries uint64) (hub.Listing, error) {
	if f.Environment.Offline {
		return hub.Listing{}, errOffline
	}
	return f.listBy(ctx, r, f.hub(r.Site).Lookup(r), retries)
}

// listBy is list for a look-up that has more to ask.
func (f *Fetcher) listBy(ctx context.Context, r Ref, asked *hub.Lookup, retries uint64) (hub.Listing, error) {
	task := f.begin("list "+r.Repo, 0)
	l, err := asked.List(ctx, retries, task.Note)
	task.End(err)
	return l, err
}

// ListFiles lists a repository of the Hub, "org/name", at a revision. An empty revision
// is ref.DefaultRevision. Failures are Usage and Model faults.
func (f *Fetcher) ListFiles(ctx context.Context, repo, revision string) (hub.Listing, error) {
	r, err := ref.Repository(repo, revision)
	if err != nil {
		return hub.Listing{}, err
	}
	l, err := f.list(ctx, r, transfer.AskRetries)
	if err != nil {
		return hub.Listing{}, f.fault(ctx, r, err)
	}
	return l, nil
}

// ResolvePattern returns the ref of the one file of a repository that a pattern of
// path.Match means, in any case of letters, by its path or its bare name. Where no file or
// several match, the error is a Model fault that lists what there is.
func (f *Fetcher) ResolvePattern(ctx context.Context, repo, revision, pattern string) (Ref, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return Ref{}, fault.New(fault.Usage, fmt.Sprintf("model pattern %q", pattern), err, "write a file name with * or ? in it, such as *Q4_K_M.gguf")
	}
	r, err := ref.Repository(repo, revision)
	if err != nil {
		return Ref{}, err
	}
	l, err := f.list(ctx, r, transfer.AskRetries)
	if err != nil {
		return Ref{}, f.fault(ctx, r, err)
	}
	found := l.Match(pattern)
	what := fmt.Sprintf("pattern %q in model repository %s", pattern, repo)
	switch len(found) {
	case 0:
		return Ref{}, fault.New(fault.Model, what, errors.New("no file has such a name"), l.Advice(pattern))
	case 1:
		return ref.Parse(r.In(r.Revision, found[0]))
	}
	return Ref{}, fault.New(fault.Model, what, fmt.Errorf("%d files have such a name", len(found)),
		"write a pattern that only one of these matches: "+strings.Join(found[:min(len(found), 8)], ", "))
}

// withNeighbours adds to the error of a missing file what the repository has instead.
// Where that cannot be had, the error stays as it is.
func (f *Fetcher) withNeighbours(ctx context.Context, r Ref, err error) error {
	if !hub.IsMissingFile(err) {
		return err
	}
	l, lerr := f.list(ctx, r, 1)
	if lerr != nil {
		return err
	}
	return l.Missing(r.File, err)
}

// errNoSmaller means that no model of the repository would fit.
var errNoSmaller = errors.New("the repository has no smaller model that would fit")

// Smaller is the largest model of a model's repository that is smaller than it by at
// least less bytes, as a ref with its quantisation or file.
func (f *Fetcher) Smaller(ctx context.Context, h Header, less int64) (string, error) {
	if h.Ref.Kind != ref.Hub {
		return "", errNoSmaller
	}
	r := h.Ref.Whole()
	l, err := f.list(ctx, r, 0)
	if err != nil {
		return "", err
	}
	best := l.Largest(h.Size - less)
	if best == "" {
		return "", errNoSmaller
	}
	if q := gguf.QuantOf(best); q != "" {
		return r.Raw + ":" + q, nil
	}
	return r.In(r.Revision, best), nil
}
