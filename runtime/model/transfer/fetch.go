package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/docker/go-units"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/disk"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

// Target is where a file's bytes go on this host.
type Target struct {
	// Partial is the path where the file grows. What an earlier run left there is used.
	Partial string
	// Final is the path, in the same folder, where the file appears when it is whole and
	// verified. Empty means that its SHA-256 becomes its name.
	Final string
	// Open opens a file for reading and writing, and creates it where needed.
	Open func(path string) (*os.File, error)
	// Grown is called while a file grows in pieces, with the number of bytes that are
	// there from its beginning without a gap. It says whether it wants to be called again.
	// Nil where nobody wants to know. A file that is fetched in one does not call it.
	Grown func(path string, here int64) (again bool)
}

// final is where a file with this hash appears.
func (t Target) final(h *digest.Hash) string {
	return cmp.Or(t.Final, filepath.Join(filepath.Dir(t.Partial), h.SHA256()))
}

// Fetch gets a file, verifies it and gives it its final path, which it returns. On failure
// the partial file stays where the next run can use it.
func (c *Client) Fetch(ctx context.Context, src Source, to Target, show Progress) (string, error) {
	// Pieces of two versions of a file could be mixed: the hash at the end must tell.
	if src.Resumable && !src.Want.None() && src.Size >= c.pieceFrom() {
		path, err := c.inPieces(ctx, src, to, show)
		if !errors.Is(err, errWhole) {
			return path, err
		}
		show.Note("the server ignores ranges: the file is fetched over one connection")
	}
	return c.inOne(ctx, src, to, show)
}

// inOne fetches a file from its beginning to its end, over one connection at a time.
func (c *Client) inOne(ctx context.Context, src Source, to Target, show Progress) (path string, err error) {
	p, err := openAppender(ctx, to, gitSize(src), src.Resumable, show.Set)
	if err != nil {
		return "", err
	}
	defer func() {
		switch {
		case err == nil:
		case isWorthKeeping(err) && src.Resumable:
			p.keep()
		default:
			p.discard()
		}
	}()
	if src.Size >= 0 && p.size() > src.Size {
		if err := p.restart(); err != nil {
			return "", err
		}
	}
	if p.size() > 0 && p.size() < src.Size {
		noteResumed(show, p.size())
	}
	if err := c.stream(ctx, src, p, show); err != nil {
		return "", markFull(err)
	}
	if err := verify(p.hash, src.Want, show); err != nil {
		return "", err
	}
	path = to.final(p.hash)
	if to.Final == "" && isThere(path, p.size()) {
		p.discard()
		return path, nil
	}
	return path, p.publish(path)
}

// isThere reports whether content that is named by its hash is there already. A server may
// have it mapped: a second copy in its place would keep the space of both.
func isThere(path string, size int64) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() == size
}

// gitSize is the size that a git hash begins with, where one is wanted.
func gitSize(src Source) int64 {
	if src.Want.Git == "" {
		return digest.NoGit
	}
	return src.Size
}

func noteResumed(show Progress, here int64) {
	show.Note("resuming after " + units.BytesSize(float64(here)))
}

// verify compares what was received with what was promised.
func verify(h *digest.Hash, want digest.Want, show Progress) error {
	if err := h.Verify(want); err != nil {
		show.Note(err.Error())
		return &CorruptError{err}
	}
	return nil
}

// isWorthKeeping reports whether a failed transfer's bytes may still be used: not after a
// mismatch, not of a changed file or a wrong kind of file, and not on a full disk.
func isWorthKeeping(err error) bool {
	var corrupt *CorruptError
	return !errors.As(err, &corrupt) && !errors.Is(err, ErrChanged) && !errors.Is(err, gguf.ErrNotModel) && !disk.IsFull(err)
}

// markFull makes ErrDiskFull of the error of a full disk.
func markFull(err error) error {
	if disk.IsFull(err) {
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return err
}
