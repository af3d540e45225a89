package model

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/store"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// Fetcher gets models. Its fields are set before the first call. Then several goroutines
// may use it.
type Fetcher struct {
	Environment Environment
	// Store is where fetched models are kept.
	Store *store.Store
	// Transport carries the requests. Nil means http.DefaultTransport, which obeys the
	// proxy variables.
	Transport http.RoundTripper
	// Progress shows what happens; nil for silence.
	Progress Progress
	// Early is called with the header of a model as soon as it is here, long before the
	// rest of the download; nil where nobody wants to know. It is not called for a model
	// that is not fetched in pieces: a small one, or one without a hash.
	Early func(context.Context, Header)
	// By is who asks, as the list of models shows it; empty for nobody.
	By string
	// HashDir is the folder where the hashes of files are kept that had to be read for
	// them, such as the user's own; empty keeps none.
	HashDir string
	// Stall is the longest time without progress; 0 means transfer.DefaultStall. There is
	// no limit on the whole time.
	Stall time.Duration
	// Chunk is the most bytes asked for in one request; 0 means 1 GiB.
	Chunk int64

	// The tests set these; see transfer.Client and disk.Free.
	pieceFrom int64
	free      func(dir string) (int64, error)
	newTimer  func() backoff.Timer
	now       func() time.Time
}

// Fetch makes sure that the model is on this host, and returns where. A failure is a Model
// fault. An interruption is an Interrupted one, and the bytes received so far are kept for
// the next call. No other process removes the model from the store before f.Store.Release.
func (f *Fetcher) Fetch(ctx context.Context, r Ref) (Local, error) {
	r = f.Meant(r)
	l, err := f.from(ctx, r)
	for try := 1; err != nil && try < tries(r, err); try++ {
		l, err = f.from(ctx, r)
	}
	if err != nil {
		return Local{}, f.fault(ctx, r, f.withDamage(r, err))
	}
	f.used(l)
	return l, nil
}

// from is one try of Fetch.
func (f *Fetcher) from(ctx context.Context, r Ref) (Local, error) {
	switch r.Kind {
	case ref.File:
		return f.fromFile(ctx, r)
	case ref.Hub:
		return f.orCaches(ctx, r, (*Fetcher).fromHub)
	case ref.HTTP:
		return f.fromWeb(ctx, r)
	case ref.Registry:
		return f.orCaches(ctx, r, (*Fetcher).fromRegistry)
	}
	return Local{}, fmt.Errorf("unknown kind of ref %d", r.Kind)
}

// used records that a model of the store was asked for.
func (f *Fetcher) used(l Local) {
	if l.Ref.Kind == ref.File {
		return
	}
	commit, file, _ := strings.Cut(strings.TrimPrefix(l.Rel, "snapshots/"), "/")
	f.Store.Folder(l.Ref).Use(commit, file, l.Ref.Raw, f.By, time.Now())
}

// tries is how often a fetch that ended with an error is tried in all. A file that is
// corrupt, or that changed during the download, is worth one more try.
func tries(r Ref, err error) int {
	var corrupt *transfer.CorruptError
	switch {
	case r.Kind == ref.File:
		return 1
	case errors.Is(err, errGone):
		return 5
	case errors.As(err, &corrupt), errors.Is(err, transfer.ErrChanged):
		return 2
	}
	return 1
}

// begin starts a step of the progress.
func (f *Fetcher) begin(name string, total int64) Task {
	if f.Progress == nil {
		return silent{}
	}
	return f.Progress.Begin(name, max(total, 0))
}

// Meant is the ref that a ref means in this environment: a URL of the Hub that HF_ENDPOINT
// names is the file of the repository that it shows. Any other ref means itself.
func (f *Fetcher) Meant(r Ref) Ref {
	if at, ok := r.AtEndpoint(f.Environment.Endpoint); ok {
		return at
	}
	return r
}

// client sends this fetcher's requests.
func (f *Fetcher) client() *transfer.Client {
	e := f.Environment
	return &transfer.Client{
		Transport: f.Transport, Roots: e.Roots,
		Tokens: []transfer.Credential{credential(e.Endpoint, e.Token), credential(e.ModelScope, e.ModelScopeToken)},
		Stall:  f.Stall, Chunk: f.Chunk, PieceFrom: f.pieceFrom, Timer: f.newTimer,
	}
}

// credential is a token for an endpoint. One that cannot be read is no origin, and gets no
// token.
func credential(endpoint, token string) transfer.Credential {
	origin, _ := url.Parse(endpoint)
	return transfer.Credential{Origin: origin, Token: token}
}
