package gguf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

const (
	// HeadSize is the number of first bytes that decide what a file is: the magic and
	// the version, which every GGUF begins with.
	HeadSize = 8
	// SniffSize is the number of first bytes that Check looks at to name what a file
	// is instead of a model.
	SniffSize = 512
)

// ErrNotModel means that a file is not a GGUF that llama.cpp can load.
var ErrNotModel = errors.New("not a model that llama.cpp can load")

// Check looks at a file's first bytes, SniffSize of them where there are that many. The
// error wraps ErrNotModel and says what the file is instead.
func Check(head []byte) error {
	if len(head) >= HeadSize && bytes.HasPrefix(head, []byte("GGUF")) {
		switch v := binary.LittleEndian.Uint32(head[4:]); {
		case v == 2 || v == 3:
			return nil
		case v&0xffff == 0 && v != 0:
			return fmt.Errorf("it is a big-endian GGUF: %w", ErrNotModel)
		default:
			return fmt.Errorf("it is a GGUF of version %d: only 2 and 3 are supported: %w", v, ErrNotModel)
		}
	}
	return fmt.Errorf("it is %s: %w", name(head), ErrNotModel)
}

// name says what a file is that is not a GGUF.
func name(head []byte) string {
	switch {
	case len(head) == 0:
		return "empty"
	case len(head) < HeadSize:
		return fmt.Sprintf("only %d bytes long", len(head))
	case IsHTML(head):
		return "an HTML page"
	case bytes.HasPrefix(head, []byte("version https://git-lfs")):
		return "a Git LFS pointer, not the file that it points to"
	case bytes.HasPrefix(head, []byte("tjgg")), bytes.HasPrefix(head, []byte("fmgg")), bytes.HasPrefix(head, []byte("lmgg")):
		return "a GGML file, which is older than GGUF"
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return "a zip archive"
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return "compressed with gzip"
	case head[0] == '{', head[0] == '[':
		return "JSON"
	case len(head) > 9 && head[8] == '{':
		return "a safetensors file"
	}
	return "not a GGUF file (it does not begin with the letters GGUF)"
}

// IsHTML reports whether a file's first bytes are those of a web page.
func IsHTML(head []byte) bool {
	return strings.HasPrefix(http.DetectContentType(head), "text/html")
}

// ReadHead reads the bytes that Check wants. A short file is not an error.
func ReadHead(r io.Reader) ([]byte, error) {
	b := make([]byte, SniffSize)
	n, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return b[:n], err
}
