package transfer

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/disk"
)

const (
	// maxPieces keeps the loss small when a transfer breaks off: at most one piece for
	// each connection.
	maxPieces = 512
	minPiece  = 256 << 10
	maxPiece  = 64 << 20
	// maxSpan bounds one request in bytes. Each request costs the time to the server and
	// back.
	maxSpan = 64 << 20
)

// pieces are the equal parts of a file that is being fetched. The file's marks say which
// of them are there, so that a process that is killed loses only what was in flight.
type pieces struct {
	file  *os.File
	marks *os.File
	// size of the file and of a piece, in bytes.
	size, piece int64

	writing sync.Mutex

	mu   sync.Mutex
	done []bool
	// ahead is how many pieces are there from the beginning without a gap. Grown is
	// signalled when it changes.
	ahead int
	grown *sync.Cond
	// ended says that no more pieces come.
	ended bool
	// got is how many bytes are there.
	got atomic.Int64
}

// span is a row of pieces, from the first to before the last. It is fetched by one request.
type span struct{ from, to int }

// pieceSize is the smallest power of two, within the bounds, that cuts a file of this size
// into at most maxPieces.
func pieceSize(size int64) int64 {
	p := int64(minPiece)
	for p < maxPiece && size/p >= maxPieces {
		p *= 2
	}
	return p
}

// openPieces goes on with what an earlier run left: pieces that are marked, or a file
// without marks that grew from its beginning.
func openPieces(to Target, size int64) (*pieces, error) {
	p := &pieces{size: size, piece: pieceSize(size)}
	p.grown = sync.NewCond(&p.mu)
	p.done = make([]bool, (size+p.piece-1)/p.piece)
	var err error
	if p.file, err = to.Open(to.Partial); err != nil {
		return nil, err
	}
	if err := p.readMarks(marksOf(to.Partial)); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// length of a piece in bytes. The last one is shorter.
func (p *pieces) length(i int) int64 { return min(p.piece, p.size-int64(i)*p.piece) }

// advance moves the end of what is there without a gap. The caller holds the lock, or is
// still alone.
func (p *pieces) advance() {
	for p.ahead < len(p.done) && p.done[p.ahead] {
		p.ahead++
	}
	p.grown.Broadcast()
}

// writeAt lets one connection write at a time. The kernel would do the same, but there the
// others would burn processor time while they wait.
func (p *pieces) writeAt(b []byte, at int64) (int, error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	return p.file.WriteAt(b, at)
}

// add notes that a piece is there.
func (p *pieces) add(i int) error {
	if err := p.mark(i); err != nil {
		return err
	}
	disk.WriteBack(p.file, int64(i)*p.piece, p.length(i))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done[i] = true
	p.advance()
	return nil
}

// missing are the pieces to fetch, in order. A span is long, for few requests, but there
// are several for each connection, so that none waits for another at the end.
func (p *pieces) missing() []span {
	most := int(max(1, min(maxSpan, p.size/(4*connections))/p.piece))
	var out []span
	for i, done := range p.done {
		switch n := len(out); {
		case done:
		case n > 0 && out[n-1].to == i && i-out[n-1].from < most:
			out[n-1].to++
		default:
			out = append(out, span{i, i + 1})
		}
	}
	return out
}

// end wakes whoever waits for more, because no more comes.
func (p *pieces) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.grown.Broadcast()
}

// wait waits until this many bytes of the file are there without a gap, or all of it. It
// returns false where they do not come.
func (p *pieces) wait(least int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.ahead == len(p.done) || int64(p.ahead)*p.piece >= least:
			return true
		case p.ended:
			return false
		}
		p.grown.Wait()
	}
}

// hash reads the file while it grows, from its beginning, which a hash needs.
func (p *pieces) hash(ctx context.Context, h *digest.Hash) error {
	stop := context.AfterFunc(ctx, p.end)
	defer stop()
	buf := make([]byte, copySize)
	for at := int64(0); at < p.size; {
		p.mu.Lock()
		for int64(p.ahead)*p.piece <= at && !p.ended {
			p.grown.Wait()
		}
		until := min(int64(p.ahead)*p.piece, p.size)
		p.mu.Unlock()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if until <= at {
			return io.ErrUnexpectedEOF
		}
		n, err := p.file.ReadAt(buf[:min(int64(len(buf)), until-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		_, _ = h.Write(buf[:n])
		at += int64(n)
	}
	return nil
}

func (p *pieces) close() error {
	err := p.file.Close()
	if p.marks != nil {
		err = errors.Join(err, p.marks.Close())
	}
	return err
}

// discard removes what is there, which gives its space back.
func (p *pieces) discard() {
	_ = p.close()
	_ = os.Remove(p.file.Name())
	_ = os.Remove(marksOf(p.file.Name()))
}
