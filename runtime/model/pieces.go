package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	// connections is how many ranges of a file are fetched at once. Content networks
	// limit a connection, not a client.
	connections = 8
	// minPiecewise is the size from which a file is fetched in pieces.
	minPiecewise = 8 << 20
	// maxPieces keeps a broken-off download's loss small: what is lost is at most a
	// piece for each connection.
	maxPieces = 512
	minPiece  = 256 << 10
	maxPiece  = 64 << 20
	// maxRun bounds one request, which is for pieces in a row: each request costs the
	// time to the server and back.
	maxRun = 64 << 20
	// writeSize is how much of an answer is written at once.
	writeSize = 512 << 10
)

// errWhole is a server that answers a range with the whole file.
var errWhole = errors.New("the server does not give parts of the file")

// pieces are the parts of a file that is being fetched, and which of them are
// there. What is there is also written down beside the file, a byte for each piece
// after its content, so that a process that is killed loses only what was in flight.
type pieces struct {
	file  *os.File
	marks *os.File
	size  int64
	piece int64

	writing sync.Mutex

	mu   sync.Mutex
	done []bool
	// ahead is how many pieces from the beginning are there without a gap; grown is
	// told when that changes.
	ahead int
	grown *sync.Cond
	ended bool
	got   atomic.Int64
}

// pieceSize is a power of two by which a file of this size has at most maxPieces,
// as far as maxPiece allows.
func pieceSize(size int64) int64 {
	p := int64(minPiece)
	for p < maxPiece && size/p >= maxPieces {
		p *= 2
	}
	return p
}

// marksOf is the file beside an incomplete blob that says which pieces it has.
func marksOf(incomplete string) string { return incomplete + ".pieces" }

// marksHead says what the marks are about; another size is another file.
func marksHead(size, piece int64) string { return fmt.Sprintf("llorch pieces 1 %d %d\n", size, piece) }

// openPieces goes on with what an earlier run left: pieces that are marked, or a
// file without marks, which grew from its beginning.
func openPieces(s *Store, d folder, blob string, size int64) (*pieces, error) {
	path := d.incomplete(blob)
	p := &pieces{size: size, piece: pieceSize(size)}
	p.grown = sync.NewCond(&p.mu)
	p.done = make([]bool, (size+p.piece-1)/p.piece)
	err := s.within(d.path("blobs"), func() (err error) {
		p.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = p.file.Chmod(fileMode)
	if err == nil {
		err = p.readMarks(marksOf(path))
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *pieces) readMarks(path string) error {
	head := marksHead(p.size, p.piece)
	known, err := os.ReadFile(path)
	text := string(known)
	switch {
	case err == nil && strings.HasPrefix(text, head) && len(text) == len(head)+len(p.done):
		for i, c := range text[len(head):] {
			p.done[i] = c == '1'
		}
	case err == nil || errors.Is(err, os.ErrNotExist):
		st, err := p.file.Stat()
		if err != nil {
			return err
		}
		// A file beside other marks is another file's, or of another program's making.
		if whole := st.Size(); len(known) == 0 && whole < p.size {
			for i := range p.done {
				p.done[i] = int64(i+1)*p.piece <= whole
			}
		}
	default:
		return err
	}
	if p.marks, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode); err != nil {
		return err
	}
	body := []byte(head)
	for i := range p.done {
		c := byte('0')
		if p.done[i] {
			c = '1'
			p.got.Add(p.length(i))
		}
		body = append(body, c)
	}
	p.advance()
	if err := p.marks.Truncate(int64(len(body))); err != nil {
		return err
	}
	_, err = p.marks.WriteAt(body, 0)
	return err
}

// length is a piece's; the last one is shorter.
func (p *pieces) length(i int) int64 { return min(p.piece, p.size-int64(i)*p.piece) }

// advance moves the end of what is there without a gap; the lock is held, or
// nobody else is there yet.
func (p *pieces) advance() {
	for p.ahead < len(p.done) && p.done[p.ahead] {
		p.ahead++
	}
	p.grown.Broadcast()
}

// writeAt writes one at a time, as the kernel does to a file anyway, but there the
// others would burn processor time while they wait.
func (p *pieces) writeAt(b []byte, at int64) (int, error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	return p.file.WriteAt(b, at)
}

// mark notes that a piece is there.
func (p *pieces) mark(i int) error {
	head := int64(len(marksHead(p.size, p.piece)))
	if _, err := p.marks.WriteAt([]byte{'1'}, head+int64(i)); err != nil {
		return err
	}
	writeBack(p.file, int64(i)*p.piece, p.length(i))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done[i] = true
	p.advance()
	return nil
}

// run is a row of pieces, from the first to before the last.
type run struct{ from, to int }

// missing are the pieces to fetch, in order and in rows: long ones for few requests,
// but several for each connection, so that none has to wait for another at the end.
func (p *pieces) missing() []run {
	most := int(max(1, min(maxRun, p.size/(4*connections))/p.piece))
	var out []run
	for i, done := range p.done {
		switch n := len(out); {
		case done:
		case n > 0 && out[n-1].to == i && i-out[n-1].from < most:
			out[n-1].to++
		default:
			out = append(out, run{i, i + 1})
		}
	}
	return out
}

// end wakes who waits for more, since there will be none.
func (p *pieces) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.grown.Broadcast()
}

// wait waits until so much of the file is there without a gap, or all of it; false
// says that it does not come.
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

// hash reads the file as it grows, from its beginning, which a hash needs.
func (p *pieces) hash(ctx context.Context, w *partial) error {
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
		w.add(buf[:n])
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

// discard removes what there is, and gives its space back.
func (p *pieces) discard() {
	_ = p.close()
	_ = os.Remove(p.file.Name())
	_ = os.Remove(marksOf(p.file.Name()))
}

// received is how much of an incomplete blob is there, by its marks where it has some.
func received(incomplete string) int64 {
	b, err := os.ReadFile(marksOf(incomplete))
	if err != nil {
		return sizeOf(incomplete)
	}
	var size, piece int64
	if _, err := fmt.Sscanf(string(b), "llorch pieces 1 %d %d\n", &size, &piece); err != nil || piece <= 0 || size <= 0 {
		return 0
	}
	var sum int64
	_, marks, _ := strings.Cut(string(b), "\n")
	for i, c := range marks {
		if c == '1' {
			sum += max(0, min(piece, size-int64(i)*piece))
		}
	}
	return sum
}
