package transfer

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/llorch/llorch-bk/runtime/model/disk"
)

// marksFormat is the first line of a file of marks, with the sizes of the file and of a
// piece. One byte for each piece follows: 1 where it is there, 0 where it is not.
const marksFormat = "llorch pieces 1 %d %d\n"

// marksOf is the file beside a partial file that says which pieces it has.
func marksOf(partial string) string { return partial + ".pieces" }

// marksHead says what the marks are about. Another size means another file.
func marksHead(size, piece int64) string { return fmt.Sprintf(marksFormat, size, piece) }

// readMarks finds out which pieces are there, and opens the marks for more.
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
		// A file beside other marks is another file's, or another program made it.
		if whole := st.Size(); len(known) == 0 && whole < p.size {
			for i := range p.done {
				p.done[i] = int64(i+1)*p.piece <= whole
			}
		}
	default:
		return err
	}
	return p.writeMarks(path, head)
}

// writeMarks opens the marks and writes all of them anew.
func (p *pieces) writeMarks(path, head string) (err error) {
	if p.marks, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
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

// mark writes down that a piece is there.
func (p *pieces) mark(i int) error {
	head := int64(len(marksHead(p.size, p.piece)))
	_, err := p.marks.WriteAt([]byte{'1'}, head+int64(i))
	return err
}

// Received is how many bytes of a partial file are there, by its marks where it has some.
func Received(partial string) int64 {
	b, err := os.ReadFile(marksOf(partial))
	if err != nil {
		return disk.Size(partial)
	}
	var size, piece int64
	if _, err := fmt.Sscanf(string(b), marksFormat, &size, &piece); err != nil || piece <= 0 || size <= 0 {
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
