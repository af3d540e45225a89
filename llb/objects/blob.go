package objects

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// entryName matches the path of an entry in ccache's file storage: a hash whose first two
// digits are a folder. It is in ccache's variant of base 16, or of base 32.
var entryName = regexp.MustCompile(`^[0-9a-v]{2}/[0-9a-v]{20,}$`)

// newBlob stores a slot's archive in a file of the folder, and lists its content.
func newBlob(dir, slot, toolchain string, body io.Reader) (_ blob, err error) {
	b := blob{entry: entry{slot: slot, toolchain: toolchain, created: time.Now().UTC()}}
	f, err := os.CreateTemp(dir, "slot-")
	if err != nil {
		return b, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(f.Name())
		}
	}()
	b.path = f.Name()
	sum, size := digest.Canonical.Digester(), new(counter)
	all := io.TeeReader(body, io.MultiWriter(f, sum.Hash(), size))
	if b.content, err = contentOf(all); err != nil {
		return b, err
	}
	// Zeros follow a tar's end.
	if _, err := io.Copy(io.Discard, all); err != nil {
		return b, err
	}
	b.digest, b.size = sum.Digest(), int64(*size)
	return b, nil
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// contentOf identifies the names in an archive. Each name is a hash of the entry's content.
func contentOf(r io.Reader) (string, error) {
	var names []string
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
		name := path.Clean(h.Name)
		if h.Typeflag == tar.TypeDir {
			continue
		}
		if h.Typeflag != tar.TypeReg || !entryName.MatchString(name) {
			return "", fmt.Errorf("%q is not an entry of the compiler cache", h.Name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return digest.FromString(strings.Join(names, "\n")).String(), nil
}
