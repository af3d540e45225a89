// Package digest answers one question: is this content what was promised? It hashes
// content while it grows, and files that exist.
package digest

import (
	"context"
	"crypto/sha1" //nolint:gosec // git names a blob by its SHA-1; nothing else here relies on it
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"regexp"
)

// readSize is how many bytes of a file are read and hashed at once.
const readSize = 1 << 20

// NoGit is the size to give New where no git hash is wanted.
const NoGit int64 = -1

var (
	hex64 = regexp.MustCompile(`^[0-9a-f]{64}$`)
	hex40 = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// IsSHA256 reports whether s is a SHA-256 in lower-case hex.
func IsSHA256(s string) bool { return hex64.MatchString(s) }

// IsSHA1 reports whether s is a SHA-1 in lower-case hex: git's name of a commit or a blob.
func IsSHA1(s string) bool { return hex40.MatchString(s) }

// Want is what content must hash to, in lower-case hex. An empty field is not checked.
type Want struct {
	// SHA256 comes from the ref, from the Hub's LFS entry or from a registry's manifest.
	SHA256 string
	// Git is the name of a git blob: the SHA-1 of "blob <size>\x00" and the content. The
	// Hub has no other hash of a file that is not in LFS.
	Git string
}

// None reports whether nothing is checked.
func (w Want) None() bool { return w == Want{} }

// MismatchError means that content does not have the promised hash.
type MismatchError struct {
	// Kind names the hash, and where it comes from: "SHA-256 on the Hub".
	Kind string
	// Want and Got are in hex.
	Want, Got string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s does not match: got %s, want %s", e.Kind, e.Got, e.Want)
}

// Hash is the running hash of content that is written to it.
type Hash struct {
	size     int64
	sha, git hash.Hash
}

// New starts a hash. A git hash begins with the content's final size in bytes; NoGit
// leaves it out.
func New(gitSize int64) *Hash {
	h := &Hash{sha: sha256.New()}
	if gitSize >= 0 {
		h.git = sha1.New() //nolint:gosec // as above
		fmt.Fprintf(h.git, "blob %d\x00", gitSize)
	}
	return h
}

// Write adds b. It never fails.
func (h *Hash) Write(b []byte) (int, error) {
	h.sha.Write(b)
	if h.git != nil {
		h.git.Write(b)
	}
	h.size += int64(len(b))
	return len(b), nil
}

// Size is the number of bytes hashed so far.
func (h *Hash) Size() int64 { return h.size }

// SHA256 is the hash of the bytes so far, in hex.
func (h *Hash) SHA256() string { return hex.EncodeToString(h.sha.Sum(nil)) }

// Git is the git hash in hex, empty where New was told to leave it out.
func (h *Hash) Git() string {
	if h.git == nil {
		return ""
	}
	return hex.EncodeToString(h.git.Sum(nil))
}

// Verify compares the whole content with what was promised. The error is a
// *MismatchError.
func (h *Hash) Verify(want Want) error {
	if got := h.SHA256(); want.SHA256 != "" && got != want.SHA256 {
		return &MismatchError{"SHA-256", want.SHA256, got}
	}
	if got := h.Git(); want.Git != "" && got != want.Git {
		return &MismatchError{"git hash", want.Git, got}
	}
	return nil
}

// ReadAll hashes what is left of in. Seen is called with the number of bytes hashed so far.
func (h *Hash) ReadAll(ctx context.Context, in io.Reader, seen func(int64)) error {
	buf := make([]byte, readSize)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := in.Read(buf)
		_, _ = h.Write(buf[:n])
		seen(h.size)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// File is the hash of a file, in hex, of the kind that name is: for 40 digits the git hash,
// or the plain SHA-1 where that is what the name is; else the SHA-256. (The Hub names a file
// by its git hash, and a mirror's ETag, by which other tools name files, can be a SHA-1.)
// Size is the file's size in bytes. Seen is called with the number of bytes hashed so far.
func File(ctx context.Context, path, name string, size int64, seen func(int64)) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if !IsSHA1(name) {
		size = NoGit
	}
	h, plain := New(size), sha1.New() //nolint:gosec // as above
	in := io.Reader(f)
	if size >= 0 {
		in = io.TeeReader(f, plain)
	}
	if err := h.ReadAll(ctx, in, seen); err != nil {
		return "", err
	}
	switch {
	case size < 0:
		return h.SHA256(), nil
	case hex.EncodeToString(plain.Sum(nil)) == name:
		return name, nil
	}
	return h.Git(), nil
}

// NameOf is a file name for a word of a server's that need not be one, such as an ETag.
func NameOf(word string) string {
	sum := sha256.Sum256([]byte(word))
	return hex.EncodeToString(sum[:20])
}
