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
var errOffline = errors.New("HF_HUB_OFFLINE is set")

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

// own checks a file of the user's; it is used where it is.
func (f *Fetcher) own(ctx context.Context, ref Ref) (Local, error) {
	p, err := filepath.Abs(ref.Path)
	if err != nil {
		return Local{}, err
	}
	info, err := os.Stat(p)
	if err != nil {
		return Local{}, err
	}
	if !info.Mode().IsRegular() {
		what := "something else than a file"
		if info.IsDir() {
			what = "a folder"
		}
		return Local{}, fmt.Errorf("it is %s: %w", what, errNotModel)
	}
	file, err := os.Open(p)
	if err != nil {
		return Local{}, err
	}
	defer file.Close()
	head, err := readHeader(file)
	if err != nil {
		return Local{}, err
	}
	if err := checkHeader(head); err != nil {
		return Local{}, err
	}
	l := Local{Ref: ref, Path: p, Size: info.Size(), Shards: 1}
	if parts := shardsOf(filepath.Base(p)); len(parts) > 1 {
		return f.ownParts(ref, l, parts)
	}
	if ref.SHA256 != "" {
		if l.SHA256, err = f.hash(ctx, p, info.Size()); err == nil && l.SHA256 != ref.SHA256 {
			err = &mismatchError{"SHA-256", ref.SHA256, l.SHA256}
		}
	}
	return l, err
}

// ownParts checks that a user's own model has all of its files; the server is given
// the first.
func (f *Fetcher) ownParts(ref Ref, l Local, parts []string) (Local, error) {
	if ref.SHA256 != "" {
		return Local{}, errShardHash
	}
	dir := filepath.Dir(l.Path)
	l.Path, l.Size, l.Shards = filepath.Join(dir, parts[0]), 0, len(parts)
	var lacks []error
	for _, name := range parts {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || !info.Mode().IsRegular() {
			lacks = append(lacks, fmt.Errorf("%s is not beside it", name))
			continue
		}
		l.Size += info.Size()
	}
	if len(lacks) > 0 {
		return Local{}, fmt.Errorf("the model is in %d files: %w", len(parts), errors.Join(lacks...))
	}
	return l, nil
}

// hash reads a whole file, which is shown as a step of its own.
func (f *Fetcher) hash(ctx context.Context, p string, size int64) (string, error) {
	task := f.begin("verify "+filepath.Base(p), size)
	sum, err := hashFile(ctx, p, task.Set)
	task.End(err)
	return sum, err
}

func (f *Fetcher) fromHub(ctx context.Context, ref Ref) (Local, error) {
	d := f.Store.hubFolder(ref.Repo)
	if ref.File == "" {
		var err error
		if ref.File, err = f.choose(ctx, ref, d); err != nil {
			return Local{}, err
		}
	}
	parts := shardsOf(ref.File)
	if len(parts) > 1 && ref.SHA256 != "" {
		return Local{}, errShardHash
	}
	// All parts are looked up before one is fetched: a model that lacks one, or that
	// the disk has no room for, is refused before gigabytes were spent on it.
	found := make([]located, len(parts))
	for i, part := range parts {
		one := ref
		one.File = part
		var err error
		if found[i], err = f.locate(ctx, one, d); err != nil && len(parts) > 1 {
			return Local{}, fmt.Errorf("the model is in %d files, of which %s cannot be had: %w", len(parts), part, err)
		} else if err != nil {
			return Local{}, err
		}
	}
	if err := f.roomForAll(d, found); err != nil {
		return Local{}, err
	}
	var whole Local
	for i, at := range found {
		l := at.local
		if !at.have {
			var err error
			if l, err = f.obtain(ctx, at.ref, d, at.src, ref.Revision, at.ref.File); err != nil {
				return Local{}, err
			}
		}
		if i == 0 {
			whole = l
			continue
		}
		whole.Size += l.Size
	}
	whole.Ref, whole.Shards = ref, len(parts)
	return whole, nil
}

// located is a file of the Hub's that the store has, or whose identity is known.
type located struct {
	ref   Ref
	have  bool
	local Local
	src   source
}

// locate finds one file: in the store, or on the Hub.
func (f *Fetcher) locate(ctx context.Context, ref Ref, d folder) (located, error) {
	at := located{ref: ref}
	here := func(commit string) (located, error) {
		var err error
		at.have = true
		at.local, err = f.local(ctx, ref, d, commit, ref.File)
		return at, err
	}
	commit := d.commitOf(ref.Revision)
	_, _, have := d.stored(commit, ref.File)
	if have && commit == ref.Revision {
		return here(commit)
	}
	if f.Environment.Offline && !have {
		return at, errOffline
	}
	task := f.begin("look up "+ref.name(), 0)
	if f.Environment.Offline {
		task.Note(fmt.Sprintf("offline: using commit %.12s, which %s was when it was last asked", commit, ref.Revision))
		task.End(nil)
		return here(commit)
	}
	retries := uint64(askRetries)
	if have {
		retries = 1 // there is something to fall back on
	}
	var err error
	at.src, err = f.lookUp(ctx, ref, retries, task)
	if err != nil && have && transient(err) && ctx.Err() == nil {
		task.Note(fmt.Sprintf("%v; using commit %.12s, which %s was when it was last asked", err, commit, ref.Revision))
		task.End(nil)
		return here(commit)
	}
	if err == nil && at.src.want.none() {
		task.Note("the Hub gives no hash of this file: it is not verified against anything")
	}
	task.End(err)
	if err != nil {
		return at, f.withNeighbours(ctx, ref, err)
	}
	return at, nil
}

// roomForAll says whether the disk has space for what is missing of a model in
// several files. Of a model in one, obtain asks.
func (f *Fetcher) roomForAll(d folder, found []located) error {
	if len(found) < 2 {
		return nil
	}
	var need int64
	for _, at := range found {
		if !at.have && !d.hasBlob(at.src.blob) {
			need += at.src.size - min(at.src.size, onDisk(d.incomplete(at.src.blob)))
		}
	}
	if need == 0 {
		return nil
	}
	return f.room(d.store.dir, need)
}

// choose is the file that a ref without one means. What the store has of a commit
// that is pinned, or that cannot be asked for, decides without a request.
func (f *Fetcher) choose(ctx context.Context, ref Ref, d folder) (string, error) {
	commit := d.commitOf(ref.Revision)
	stored, _, storedErr := pick(d.files(commit), ref.Quant)
	// Without a quantisation, another file than the first choice may be here only
	// because somebody asked for it.
	sure := ref.Quant != "" || quantOf(stored) == usualQuants[0]
	if storedErr == nil && commit == ref.Revision && sure {
		return stored, nil
	}
	if f.Environment.Offline {
		if storedErr != nil {
			return "", errOffline
		}
		return stored, nil
	}
	retries := uint64(askRetries)
	if storedErr == nil {
		retries = 1
	}
	l, err := f.list(ctx, ref, retries)
	if err != nil && storedErr == nil && transient(err) && ctx.Err() == nil {
		return stored, nil
	}
	if err != nil {
		return "", err
	}
	names := make([]string, len(l.Files))
	for i, file := range l.Files {
		names[i] = file.Path
	}
	file, why, err := pick(names, ref.Quant)
	if err == nil && why != "" {
		task := f.begin("choose a file of "+ref.Repo, 0)
		task.Note(why + ": " + file)
		task.End(nil)
	}
	return file, err
}

func (f *Fetcher) fromWeb(ctx context.Context, ref Ref) (Local, error) {
	name := webName(ref.URL)
	if s, ok := shardOf(name); ok && s.count > 1 {
		return Local{}, errSharded
	}
	d := f.Store.webFolder(ref.URL, name)
	commit := ref.SHA256
	if commit == "" {
		commit = d.commitOf(webRevision)
	} else if _, _, have := d.stored(commit, name); !have && d.hasBlob(commit) {
		// Fetched without a hash before: the content is known by its own.
		return f.linked(ctx, ref, d, source{commit: commit}, webRevision, name, commit)
	}
	_, _, have := d.stored(commit, name)
	if have && ref.SHA256 != "" {
		return f.local(ctx, ref, d, commit, name)
	}
	if f.Environment.Offline && !have {
		return Local{}, errOffline
	}
	task := f.begin("look up "+ref.Raw, 0)
	if f.Environment.Offline {
		task.Note("offline: using the copy in the store")
		task.End(nil)
		return f.local(ctx, ref, d, commit, name)
	}
	retries := uint64(askRetries)
	if have {
		retries = 1
	}
	src, err := f.probe(ctx, ref, retries, task)
	if err != nil && have && transient(err) && ctx.Err() == nil {
		task.Note(fmt.Sprintf("%v; using the copy in the store", err))
		task.End(nil)
		return f.local(ctx, ref, d, commit, name)
	}
	if err == nil && src.want.none() {
		task.Note("the ref has no #sha256: the file is not verified against anything")
	}
	task.End(err)
	if err != nil {
		return Local{}, err
	}
	return f.obtain(ctx, ref, d, src, webRevision, name)
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
	t := &transport{base: f.Transport, token: f.Environment.Token, stall: f.Stall}
	if t.base == nil {
		t.base = http.DefaultTransport
	}
	if t.stall <= 0 {
		t.stall = DefaultStall
	}
	// An endpoint that cannot be read is no origin, and gets no token.
	t.endpoint, _ = url.Parse(f.Environment.Endpoint)
	return t
}
