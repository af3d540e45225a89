package model

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// headerSize is how many first bytes decide what a file is: the magic and the
// version, which every GGUF begins with.
const headerSize = 8

// sniffSize is how much of a file is looked at to name what it is instead.
const sniffSize = 512

var errNotModel = errors.New("not a model that llama.cpp can load")

// checkHeader looks at a file's first bytes, sniffSize of them where there are
// that many, and says what is wrong with them as the beginning of a model.
func checkHeader(b []byte) error {
	if len(b) >= headerSize && bytes.HasPrefix(b, []byte("GGUF")) {
		switch v := binary.LittleEndian.Uint32(b[4:]); {
		case v == 2 || v == 3:
			return nil
		case v&0xffff == 0 && v != 0:
			return fmt.Errorf("it is a big-endian GGUF: %w", errNotModel)
		default:
			return fmt.Errorf("it is a GGUF of version %d, and only 2 and 3 are known: %w", v, errNotModel)
		}
	}
	return fmt.Errorf("it is %s: %w", describeBytes(b), errNotModel)
}

func describeBytes(b []byte) string {
	switch {
	case len(b) == 0:
		return "empty"
	case len(b) < headerSize:
		return fmt.Sprintf("only %d bytes long", len(b))
	case isHTML("", b):
		return "an HTML page"
	case bytes.HasPrefix(b, []byte("version https://git-lfs")):
		return "a Git LFS pointer, not the file that it points to"
	case bytes.HasPrefix(b, []byte("tjgg")), bytes.HasPrefix(b, []byte("fmgg")), bytes.HasPrefix(b, []byte("lmgg")):
		return "a GGML file of the time before GGUF"
	case bytes.HasPrefix(b, []byte("PK\x03\x04")):
		return "a zip archive"
	case bytes.HasPrefix(b[:headerSize], []byte{0x1f, 0x8b}):
		return "compressed with gzip"
	case b[0] == '{', b[0] == '[':
		return "JSON"
	case len(b) > 9 && b[8] == '{':
		return "a safetensors file"
	}
	return "no GGUF file (it does not begin with the letters GGUF)"
}

func isHTML(contentType string, b []byte) bool {
	return strings.HasPrefix(strings.ToLower(strings.TrimSpace(contentType)), "text/html") ||
		strings.HasPrefix(http.DetectContentType(b), "text/html")
}

// readHeader reads what checkHeader wants, a short file being no error.
func readHeader(r io.Reader) ([]byte, error) {
	b := make([]byte, sniffSize)
	n, err := io.ReadFull(r, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return b[:n], err
}
