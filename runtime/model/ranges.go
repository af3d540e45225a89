package model

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"github.com/docker/go-units"
)

// piecewise says whether a file is fetched in pieces: where its hash at the end
// tells whether they were of one file.
func (f *Fetcher) piecewise(src source) bool {
	return src.resumable && !src.want.none() && src.size >= max(f.pieceFrom, 1) && (f.pieceFrom > 0 || src.size >= minPiecewise)
}

// transferPieces fetches a blob in pieces, several at once, and verifies it while it
// grows. On failure what is there stays for the next run; errWhole says that the
// server cannot do it, and leaves nothing.
func (f *Fetcher) transferPieces(ctx context.Context, d folder, src source, task Task) (err error) {
	p, err := openPieces(d.store, d, src.blob, src.size)
	if err != nil {
		return err
	}
	defer func() {
		switch {
		case err == nil:
		case keepable(err) && !errors.Is(err, errWhole) && p.got.Load() > 0:
			err = errors.Join(err, p.close())
		default:
			p.discard()
		}
	}()
	if n := p.got.Load(); n > 0 && n < p.size {
		task.Note(fmt.Sprintf("going on after %s", units.BytesSize(float64(n))))
	}
	task.Set(p.got.Load())
	todo := p.missing()
	get := &ranges{f: f, src: src, p: p, task: task}
	// The first bytes decide whether it is a model at all, before the bulk is asked for.
	if len(todo) > 0 && todo[0].from == 0 {
		if err := get.run(ctx, run{0, 1}); err != nil {
			return full(err)
		}
		todo = p.missing()
	}
	if err := reserve(p.file, p.size); err != nil {
		return full(err)
	}
	w := &partial{gitSize: -1}
	if src.want.git != "" {
		w.gitSize = src.size
	}
	w.begin()
	if err := get.all(ctx, todo, w); err != nil {
		return full(err)
	}
	if err := w.verify(src.want); err != nil {
		task.Note(err.Error())
		return &refetchError{err}
	}
	if err := errors.Join(p.file.Sync(), p.close()); err != nil {
		return err
	}
	if err := os.Rename(p.file.Name(), d.blob(src.blob)); err != nil {
		return err
	}
	_ = os.Remove(marksOf(p.file.Name()))
	return syncDir(d.path("blobs"))
}

// full marks an error of a full disk as one.
func full(err error) error {
	if isFull(err) {
		return fmt.Errorf("%w: %w", errDiskFull, err)
	}
	return err
}

// ranges fetches pieces of one file over several connections.
type ranges struct {
	f    *Fetcher
	src  source
	p    *pieces
	task Task

	mu sync.Mutex
	// direct is where the file was redirected to: asking there saves a request for
	// each piece. A signed address expires; then it is asked for anew.
	direct string
	setMu  sync.Mutex
	shown  int64
}

// all fetches pieces and hashes the file while it grows.
func (r *ranges) all(ctx context.Context, todo []run, w *partial) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var failed error
	var once sync.Once
	fail := func(err error) {
		once.Do(func() { failed = err; cancel(err) })
	}
	queue := make(chan run)
	var running sync.WaitGroup
	for range min(connections, len(todo)) {
		running.Go(func() {
			for row := range queue {
				if err := r.run(ctx, row); err != nil {
					fail(err)
					return
				}
			}
		})
	}
	var looking sync.WaitGroup
	looking.Go(func() {
		for least := int64(firstLook); r.p.wait(least) && r.f.early(ctx, r.src, r.p.file.Name(), least); least *= 4 {
		}
	})
	hashed := make(chan error, 1)
	go func() { hashed <- r.p.hash(ctx, w) }()
feed:
	for _, row := range todo {
		select {
		case queue <- row:
		case <-ctx.Done():
			break feed
		}
	}
	close(queue)
	running.Wait()
	r.p.end()
	looking.Wait()
	err := <-hashed
	r.show(true)
	if failed == nil && ctx.Err() != nil {
		failed = context.Cause(ctx)
	}
	if failed != nil {
		return failed
	}
	return err
}

// run fetches a row of pieces, again where it breaks, from where it broke.
func (r *ranges) run(ctx context.Context, row run) error {
	at, end := int64(row.from)*r.p.piece, min(int64(row.to)*r.p.piece, r.p.size)
	next := row.from
	passed := func(now int64) error {
		for ; next < row.to && int64(next)*r.p.piece+r.p.length(next) <= now; next++ {
			if err := r.p.mark(next); err != nil {
				return err
			}
		}
		return nil
	}
	err := r.f.retry(ctx, transferRetries, r.note(), func() (bool, error) {
		before := at
		var err error
		for at < end && err == nil {
			at, err = r.get(ctx, at, end, passed)
		}
		return at-before >= progressBytes, err
	})
	if err != nil {
		// What is of no whole piece is fetched again.
		r.p.got.Add(int64(next)*r.p.piece - at)
	}
	return err
}

// note passes notes of several connections on, one at a time.
func (r *ranges) note() Task { return &oneAtATime{r} }

type oneAtATime struct{ r *ranges }

func (o *oneAtATime) Set(int64) {}
func (o *oneAtATime) End(error) {}
func (o *oneAtATime) Note(line string) {
	o.r.setMu.Lock()
	defer o.r.setMu.Unlock()
	o.r.task.Note(line)
}

// show tells how much is there, not more often than anybody can see.
func (r *ranges) show(last bool) {
	r.setMu.Lock()
	defer r.setMu.Unlock()
	if now := min(r.p.got.Load(), r.p.size); last || now-r.shown >= copySize {
		r.shown = now
		r.task.Set(now)
	}
}

// get asks for the bytes from at to end and writes what comes, telling passed how
// far it is; it returns where the next request goes on.
func (r *ranges) get(ctx context.Context, at, end int64, passed func(int64) error) (int64, error) {
	r.mu.Lock()
	address := r.direct
	r.mu.Unlock()
	asked := address
	if address == "" {
		address, asked = r.src.address, r.src.address
	}
	h := http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", at, end-1)}}
	if r.src.validator != "" && at > 0 {
		h.Set("If-Range", r.src.validator)
	}
	t := r.f.transportTo(r.src)
	if r.src.carry == nil {
		t.base = r.f.carrier(true)
	}
	resp, err := t.send(ctx, http.MethodGet, address, h, followAll)
	if err != nil {
		r.renew(asked)
		return at, err
	}
	defer resp.Body.Close()
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return at, fmt.Errorf("%s sends the file with Content-Encoding %s, though asked not to", resp.Request.URL.Host, printable(enc))
	}
	if now := validator(resp.Header); r.src.validator != "" && now != "" && now != r.src.validator && resp.StatusCode < 300 {
		return at, errChanged
	}
	switch resp.StatusCode {
	case http.StatusPartialContent:
	case http.StatusOK:
		if isHTML(resp.Header.Get("Content-Type"), nil) {
			return at, fmt.Errorf("it is an HTML page: %w", errNotModel)
		}
		return at, errWhole
	case http.StatusRequestedRangeNotSatisfiable:
		if total, ok := unsatisfiedTotal(resp.Header.Get("Content-Range")); ok && total != r.src.size {
			return at, fmt.Errorf("%w: it has %d bytes now, not %d", errChanged, total, r.src.size)
		}
		return at, fmt.Errorf("%w: %s refuses it", errBadRange, resp.Request.URL.Host)
	default:
		err := failure(resp, r.src.address)
		if asked != r.src.address {
			// A signed address that is no longer good is no refusal: the next try asks
			// for a new one.
			r.renew(asked)
		}
		return at, err
	}
	length, err := rangeLength(resp.Header.Get("Content-Range"), at, end-1, r.src.size)
	if err != nil {
		return at, err
	}
	if to := resp.Request.URL.String(); to != asked && asked == r.src.address {
		r.mu.Lock()
		r.direct = to
		r.mu.Unlock()
	}
	return r.write(ctx, resp, at, length, passed)
}

// renew forgets a redirect's address, unless somebody has a newer one.
func (r *ranges) renew(asked string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.direct == asked {
		r.direct = ""
	}
}

// write puts an answer's body where it belongs. Of the file's first bytes it looks
// whether they are a model's.
func (r *ranges) write(ctx context.Context, resp *http.Response, at, length int64, passed func(int64) error) (int64, error) {
	body := io.Reader(resp.Body)
	if at == 0 {
		b := bufio.NewReaderSize(resp.Body, sniffSize)
		head, err := b.Peek(int(min(sniffSize, length)))
		if err != nil && !errors.Is(err, io.EOF) && len(head) < headerSize {
			return at, err
		}
		if len(head) < headerSize {
			return at, &networkError{resp.Request.URL.Host, io.ErrUnexpectedEOF}
		}
		if isHTML(resp.Header.Get("Content-Type"), head) {
			return at, fmt.Errorf("it is an HTML page: %w", errNotModel)
		}
		if err := checkHeader(head); err != nil {
			return at, err
		}
		body = b
	}
	buf := buffers.Get().(*[writeSize]byte) //nolint:forcetypeassert // nothing else is put there
	defer buffers.Put(buf)
	for end := at + length; at < end; {
		if ctx.Err() != nil {
			return at, context.Cause(ctx)
		}
		n, err := body.Read(buf[:min(writeSize, end-at)])
		if n > 0 {
			if _, werr := r.p.writeAt(buf[:n], at); werr != nil {
				return at, fmt.Errorf("write: %w", werr)
			}
			at += int64(n)
			r.p.got.Add(int64(n))
			if err := passed(at); err != nil {
				return at, err
			}
			r.show(false)
		}
		switch {
		case at == end:
			return at, nil
		case errors.Is(err, io.EOF):
			return at, &networkError{resp.Request.URL.Host, io.ErrUnexpectedEOF}
		case err != nil:
			return at, err
		}
	}
	return at, nil
}

var buffers = sync.Pool{New: func() any { return new([writeSize]byte) }}
