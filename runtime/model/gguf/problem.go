package gguf

import (
	"fmt"
	"io"
	"strconv"

	"github.com/llorch/llorch-bk/images/fault"
)

// ErrCut means that a file ends before its header says that it does. It wraps
// io.ErrUnexpectedEOF.
var ErrCut error = cut{}

type cut struct{}

func (cut) Error() string { return "the file is cut" }
func (cut) Unwrap() error { return io.ErrUnexpectedEOF }

// HeaderError is what is wrong with a header. It wraps ErrCut where the file is too short.
type HeaderError struct {
	// At is where in the file, in bytes from its beginning.
	At int64
	// Part is the key or the tensor, in words.
	Part string
	// Problem says what is wrong there.
	Problem string

	kind error
}

func (e *HeaderError) Error() string {
	text := fmt.Sprintf("its header is not valid: %s, at byte %d: %s", e.Part, e.At, e.Problem)
	if e.kind != nil {
		text += ": " + e.kind.Error()
	}
	return text
}

// Unwrap returns ErrCut, or nothing.
func (e *HeaderError) Unwrap() error { return e.kind }

// quoted is a name from a header, short and printable.
func quoted(name string) string {
	const most = 80
	if len(name) > most {
		name = name[:most] + "…"
	}
	return strconv.Quote(fault.Printable(name))
}
