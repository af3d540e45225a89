package model

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// DefaultStall is how long a server may send nothing before the connection is
// given up and tried again.
const DefaultStall = 60 * time.Second

// Fetcher gets models. Its fields are set before the first call and not changed
// after; then it may be used by several goroutines.
type Fetcher struct {
	Environment Environment
	// Store is where fetched models are kept.
	Store *Store
	// Transport carries the requests; nil means http.DefaultTransport, which
	// obeys the proxy variables.
	Transport http.RoundTripper
	// Progress is told what happens; nil for silence.
	Progress Progress
	// Early is told of a model that is being downloaded when its header is there, long
	// before the rest; nil where nobody wants to know. It is not told of a model
	// that is fetched in one piece: a small one, or one that nothing is verified against.
	Early func(context.Context, Header)
	// By is who asks, as the list of models shows it; empty for nobody in particular.
	By string
	// Stall is the longest time without a byte; 0 means DefaultStall. There is
	// no limit on the whole time.
	Stall time.Duration
	// Chunk is the most bytes asked for in one request; 0 means 1 GiB.
	Chunk int64

	// What the tests put in the place of the disk, the clock, and the size from which
	// a file is fetched in pieces.
	pieceFrom int64
	free      func(dir string) (int64, error)
	newTimer  func() backoff.Timer
}

// Local is a model on this host, whole and, where there was anything to verify
// it against, verified.
type Local struct {
	Ref Ref
	// Path is the file's absolute path; it exists and this process can read it.
	Path string
	// Dir is the absolute folder to mount, empty for a user's own file, and Rel
	// the slash-separated path of the file inside it. The symlinks on the way are
	// relative and stay inside Dir.
	Dir, Rel string
	// Size in bytes.
	Size int64
	// SHA256 in lower-case hex; empty for a user's own file whose ref has none.
	SHA256 string
	// Commit is the Hub's commit; empty for any other kind.
	Commit string
	// Shards is how many files the model is in; Path is the first of them, Size all.
	Shards int
}

// errOffline is a request that would be needed and is forbidden.
var errOffline = errors.New("no network may be asked for it: HF_HUB_OFFLINE is set, or `offline` is given")

// Fetch makes sure that the model is on this host, and says where. Failures are
// Model faults; an interruption is an Interrupted one, and what was received by
// then is kept for the next call.
func (f *Fetcher) Fetch(ctx context.Context, ref Ref) (Local, error) {
	var l Local
	var err error
	// A mismatch or a file that changed under way is worth one more try.
	for try := range 2 {
		switch ref.Kind {
		case File:
			l, err = f.own(ctx, ref)
		case Hub:
			l, err = f.fromHub(ctx, ref)
		case HTTP:
			l, err = f.fromWeb(ctx, ref)
		case Registry:
			l, err = f.fromRegistry(ctx, ref)
		default:
			err = fmt.Errorf("unknown kind of ref %d", ref.Kind)
		}
		if try > 0 || ref.Kind == File || !worthAnother(err) {
			break
		}
	}
	if err != nil {
		return Local{}, f.fault(ctx, ref, err)
	}
	f.used(l)
	return l, nil
}

// used writes down that a model of the store was asked for.
func (f *Fetcher) used(l Local) {
	switch l.Ref.Kind {
	case Hub:
		f.Store.hubFolder(l.Ref.Repo).note(l.Commit, strings.TrimPrefix(l.Rel, "snapshots/"+l.Commit+"/"), l.Ref.Raw, f.By, time.Now())
	case HTTP:
		name := webName(l.Ref.URL)
		d := f.Store.webFolder(l.Ref.URL, name)
		commit, _, _ := strings.Cut(strings.TrimPrefix(l.Rel, "snapshots/"), "/")
		d.note(commit, name, l.Ref.Raw, f.By, time.Now())
	case Registry:
		commit, file, _ := strings.Cut(strings.TrimPrefix(l.Rel, "snapshots/"), "/")
		f.Store.registryFolder(l.Ref.Repo).note(commit, file, l.Ref.Raw, f.By, time.Now())
	case File:
	}
}

func worthAnother(err error) bool {
	var m *refetchError
	return errors.As(err, &m) || errors.Is(err, errChanged)
}

// refetchError is a mismatch of bytes that were received, unlike one of two
// promises, which fetching again cannot cure.
type refetchError struct{ error }

func (e *refetchError) Unwrap() error { return e.error }

// errSharded is one part of a model by a plain URL: nobody says that its parts are
// at addresses like it.
var errSharded = errors.New("it is one part of a model in several files")

var errShardHash = errors.New("the ref has a #sha256, which is of one file, and the model is in several")

// hash reads a whole file, which is shown as a step of its own.
func (f *Fetcher) hash(ctx context.Context, p string, size int64) (string, error) {
	task := f.begin("verify "+filepath.Base(p), size)
	sum, err := hashFile(ctx, p, task.Set)
	task.End(err)
	return sum, err
}

// local describes a file that the store has.
func (f *Fetcher) local(ctx context.Context, ref Ref, d folder, commit, file string) (Local, error) {
	blob, size, ok := d.stored(commit, file)
	if !ok {
		return Local{}, fmt.Errorf("%s vanished from the store", d.path(snapshotRel(commit, file)))
	}
	l := Local{
		Ref: ref, Path: d.path(snapshotRel(commit, file)), Dir: d.path(),
		Rel: path.Join("snapshots", commit, file), Size: size, SHA256: blob, Shards: 1,
	}
	if ref.Kind == Hub {
		l.Commit = commit
	}
	r, err := os.Open(l.Path)
	if err != nil {
		return Local{}, err
	}
	defer r.Close()
	if !hex64.MatchString(blob) { // a small file of the Hub's, stored under its git name
		if l.SHA256, err = f.hash(ctx, l.Path, size); err != nil {
			return Local{}, err
		}
	}
	if ref.SHA256 != "" && l.SHA256 != ref.SHA256 {
		return Local{}, &mismatchError{"SHA-256 in the store", ref.SHA256, l.SHA256}
	}
	return l, nil
}

// transportTo is the transport for a file's own requests.
func (f *Fetcher) transportTo(src source) *transport {
	t := f.transport()
	if src.carry != nil {
		t.base = src.carry
	}
	return t
}

func (f *Fetcher) begin(name string, total int64) Task {
	if f.Progress == nil {
		return silent{}
	}
	return f.Progress.Begin(name, max(total, 0))
}

func (f *Fetcher) chunk() int64 {
	if f.Chunk > 0 {
		return f.Chunk
	}
	return defaultChunk
}

func (f *Fetcher) transport() *transport {
	t := &transport{base: f.carrier(false), token: f.Environment.Token, stall: f.Stall}
	if t.stall <= 0 {
		t.stall = DefaultStall
	}
	// An endpoint that cannot be read is no origin, and gets no token.
	t.endpoint, _ = url.Parse(f.Environment.Endpoint)
	return t
}
