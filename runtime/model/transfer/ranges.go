package transfer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/disk"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

const (
	// connections is how many spans of a file are fetched at once. Content networks limit
	// a connection, not a client.
	connections = 8
	// writeSize is how many bytes of an answer are written at once.
	writeSize = 512 << 10
	// firstLook is how many bytes of a file are there when Grown is called first.
	firstLook = 1 << 20
)

// inPieces fetches a file in pieces, several at once, and verifies it while it grows. On
// failure what is there stays for the next run. With errWhole, which says that the server
// cannot do it, nothing stays.
func (c *Client) inPieces(ctx context.Context, src Source, to Target, show Progress) (path string, err error) {
	p, err := openPieces(to, src.Size)
	if err != nil {
		return "", err
	}
	defer func() {
		switch {
		case err == nil:
		case isWorthKeeping(err) && !errors.Is(err, errWhole) && p.got.Load() > 0:
			err = errors.Join(err, p.close())
		default:
			p.discard()
		}
	}()
	if n := p.got.Load(); n > 0 && n < p.size {
		noteResumed(show, n)
	}
	show.Set(p.got.Load())
	r := &ranges{c: c, src: src, p: p, progress: show}
	todo := p.missing()
	// The first bytes decide whether it is a model at all, before the bulk is asked for.
	if len(todo) > 0 && todo[0].from == 0 {
		if err := r.fetch(ctx, span{0, 1}); err != nil {
			return "", markFull(err)
		}
		todo = p.missing()
	}
	if err := disk.Reserve(p.file, p.size); err != nil {
		return "", markFull(err)
	}
	h := digest.New(gitSize(src))
	if err := r.all(ctx, todo, h, to.Grown); err != nil {
		return "", markFull(err)
	}
	if err := verify(h, src.Want, show); err != nil {
		return "", err
	}
	return p.publish(to.final(h))
}

// publish gives the file its final name. It is on the disk before anybody sees it.
func (p *pieces) publish(final string) (string, error) {
	if err := errors.Join(p.file.Sync(), p.close()); err != nil {
		return "", err
	}
	if err := os.Rename(p.file.Name(), final); err != nil {
		return "", err
	}
	_ = os.Remove(marksOf(p.file.Name()))
	return final, disk.SyncDir(filepath.Dir(final))
}

// ranges fetches spans of one file over several connections.
type ranges struct {
	c        *Client
	src      Source
	p        *pieces
	progress Progress

	mu sync.Mutex
	// direct is where the file's address redirected to. Asking there saves a request for
	// each span. It is asked for anew when it expires.
	direct string

	showing sync.Mutex
	shown   int64
}

// all fetches spans, and hashes the file while it grows.
func (r *ranges) all(ctx context.Context, todo []span, h *digest.Hash, grown func(string, int64) bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var failed error
	var once sync.Once
	fail := func(err error) {
		once.Do(func() { failed = err; cancel(err) })
	}
	queue := make(chan span)
	var fetching sync.WaitGroup
	for range min(connections, len(todo)) {
		fetching.Go(func() {
			for s := range queue {
				if err := r.fetch(ctx, s); err != nil {
					fail(err)
					return
				}
			}
		})
	}
	var looking sync.WaitGroup
	looking.Go(func() {
		for least := int64(firstLook); grown != nil && r.p.wait(least) && grown(r.p.file.Name(), least); least *= 4 {
		}
	})
	hashed := make(chan error, 1)
	go func() { hashed <- r.p.hash(ctx, h) }()
feed:
	for _, s := range todo {
		select {
		case queue <- s:
		case <-ctx.Done():
			break feed
		}
	}
	close(queue)
	fetching.Wait()
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

// fetch gets a span. Where it breaks it is tried again from there.
func (r *ranges) fetch(ctx context.Context, s span) error {
	at, end := int64(s.from)*r.p.piece, min(int64(s.to)*r.p.piece, r.p.size)
	next := s.from
	passed := func(now int64) error {
		for ; next < s.to && int64(next)*r.p.piece+r.p.length(next) <= now; next++ {
			if err := r.p.add(next); err != nil {
				return err
			}
		}
		return nil
	}
	err := r.c.Retry(ctx, transferRetries, r.note, func() (bool, error) {
		before := at
		var err error
		for at < end && err == nil {
			at, err = r.ask(ctx, at, end, passed)
		}
		return at-before >= progressBytes, err
	})
	if err != nil {
		// The part of a piece that is there is fetched again.
		r.p.got.Add(int64(next)*r.p.piece - at)
	}
	return err
}

// note passes on the notes of several connections, one at a time.
func (r *ranges) note(line string) {
	r.showing.Lock()
	defer r.showing.Unlock()
	r.progress.Note(line)
}

// show tells how much is there, not more often than anybody can see.
func (r *ranges) show(last bool) {
	r.showing.Lock()
	defer r.showing.Unlock()
	if now := min(r.p.got.Load(), r.p.size); last || now-r.shown >= copySize {
		r.shown = now
		r.progress.Set(now)
	}
}

// ask requests the bytes from at to end and writes what comes. It tells passed how far it
// is, and returns where the next request goes on.
func (r *ranges) ask(ctx context.Context, at, end int64, passed func(int64) error) (int64, error) {
	address := r.address()
	h := http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", at, end-1)}}
	if r.src.Validator != "" && at > 0 {
		h.Set("If-Range", r.src.Validator)
	}
	resp, err := r.c.send(ctx, r.c.over(r.src, true), http.MethodGet, address, h, followAll)
	if err != nil {
		r.forget(address)
		return at, err
	}
	defer resp.Body.Close()
	got, err := judge(resp, r.src, at, end-1)
	var status *StatusError
	if errors.As(err, &status) {
		// It may be a signed address that expired: the next try asks for a new one.
		r.forget(address)
	}
	if err == nil && got.whole {
		if err = pageInstead(resp); err == nil {
			err = errWhole
		}
	}
	if err != nil {
		return at, err
	}
	r.remember(address, resp.Request.URL.String())
	return r.write(ctx, resp, at, got.length, passed)
}

// address is where to ask for the next span.
func (r *ranges) address() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.direct != "" {
		return r.direct
	}
	return r.src.Address
}

// remember keeps the address that the file's own address redirected to.
func (r *ranges) remember(asked, answered string) {
	if asked != r.src.Address || answered == asked {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.direct = answered
}

// forget drops the address that a redirect gave, unless there is a newer one.
func (r *ranges) forget(asked string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.direct == asked {
		r.direct = ""
	}
}

// write puts an answer's body where it belongs. It judges a file by its first bytes.
func (r *ranges) write(ctx context.Context, resp *http.Response, at, length int64, passed func(int64) error) (int64, error) {
	body := io.Reader(resp.Body)
	if at == 0 {
		b := bufio.NewReaderSize(resp.Body, gguf.SniffSize)
		if err := peek(resp, b, length); err != nil {
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
			return at, cutOff(resp)
		case err != nil:
			return at, err
		}
	}
	return at, nil
}

var buffers = sync.Pool{New: func() any { return new([writeSize]byte) }}
