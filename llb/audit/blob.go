package audit

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"

	"github.com/containerd/containerd/v2/pkg/archive/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/klauspost/compress/zstd"
)

// checked reads a blob to its end and checks it against its descriptor. Meanwhile use, if
// not nil, receives the bytes, before they are verified: its result counts only if checked
// finds no error.
func checked(desc v1.Descriptor, open func() (io.ReadCloser, error), use func(io.Reader) error) error {
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	sum := sha256.New()
	// One byte more than the descriptor's size reveals a blob that is too long.
	t := &counted{r: io.TeeReader(io.LimitReader(r, desc.Size+1), sum)}
	var used error
	if use != nil {
		used = use(t)
	}
	_, err = io.Copy(io.Discard, t)
	err = errors.Join(t.err, err)
	switch got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); {
	case err != nil && Broken(err):
		return err
	case t.n > desc.Size:
		return fmt.Errorf("size mismatch: got more than the descriptor's %d bytes", desc.Size)
	case t.n < desc.Size:
		return fmt.Errorf("size mismatch: got %d bytes, want %d", t.n, desc.Size)
	case got != desc.Digest.String():
		return fmt.Errorf("digest mismatch: got %s", got)
	case err != nil:
		return err
	}
	return used
}

// Broken reports whether an error concerns the transfer of an image and not its content.
func Broken(err error) bool {
	var request *url.Error
	var network *net.OpError
	var answer *transport.Error
	return errors.As(err, &request) || errors.As(err, &network) || errors.As(err, &answer) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// counted counts what is read. It keeps the reader's error, because its user may not pass
// it on.
type counted struct {
	r   io.Reader
	n   int64
	err error
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// unpacked reads a layer's archive and checks its uncompressed digest.
func unpacked(want v1.Hash, r io.Reader, each func(*tar.Header, io.Reader) error) error {
	plain, err := decompressed(r)
	if err != nil {
		return err
	}
	sum := sha256.New()
	tee := io.TeeReader(plain, sum)
	for t := tar.NewReader(tee); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := each(h, t); err != nil {
			return err
		}
	}
	// An archive may be padded after its end.
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != want.String() {
		return fmt.Errorf("digest mismatch after unpacking: got %s, the config says %s", got, want)
	}
	return nil
}

// decompressed decompresses a layer. It does not read from r in another goroutine, so that
// the caller can use r again afterwards.
func decompressed(r io.Reader) (io.Reader, error) {
	buffered := bufio.NewReader(r)
	head, err := buffered.Peek(10)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch compression.DetectCompression(head) {
	case compression.Gzip:
		return gzip.NewReader(buffered)
	case compression.Zstd:
		d, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return buffered, nil
}
