package audit

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/attest"
)

// maxFile is the largest file that is read into memory, in bytes. dpkg's list in a full
// distribution has a few MB.
const maxFile = 64 << 20

// files are the files of an image that its statements are checked against, by absolute
// path. It is an attest.Tree.
type files map[string][]byte

// relevant reports whether a file is one of them, and whether its content is needed.
func relevant(name string) (is, content bool) {
	switch {
	case path.Dir(name) == attest.StatusDir, name == attest.StatusFile, name == attest.ReleaseFile, name == llb.LockPath:
		return true, true
	}
	return strings.HasPrefix(name, images.AppDir+"/"), false
}

// layer reads a layer's files into a set; done merges them over those of the layers below.
func (f files) layer() (each func(*tar.Header, io.Reader) error, done func()) {
	const gone, all = ".wh.", ".wh..wh..opq"
	added := files{}
	var removed []string
	each = func(h *tar.Header, r io.Reader) error {
		name := path.Clean("/" + h.Name)
		dir, base := path.Split(name)
		if base == all {
			removed = append(removed, dir)
			return nil
		}
		if hidden, ok := strings.CutPrefix(base, gone); ok {
			removed = append(removed, path.Join(dir, hidden), path.Join(dir, hidden)+"/")
			return nil
		}
		is, content := relevant(name)
		if !is || h.Typeflag == tar.TypeDir {
			return nil
		}
		added[name] = nil
		if !content || h.Typeflag != tar.TypeReg {
			return nil
		}
		if h.Size > maxFile {
			return fmt.Errorf("%s is too large: got %d bytes, want at most %d", name, h.Size, maxFile)
		}
		data, err := io.ReadAll(r)
		added[name] = data
		return err
	}
	return each, func() {
		for _, of := range removed {
			for name := range f {
				if name == of || strings.HasSuffix(of, "/") && strings.HasPrefix(name, of) {
					delete(f, name)
				}
			}
		}
		for name, data := range added {
			f[name] = data
		}
	}
}

// Read returns a file's content.
func (f files) Read(_ context.Context, name string) ([]byte, bool, error) {
	data, ok := f[path.Clean("/"+name)]
	return data, ok, nil
}

// List returns the names in a folder, sorted.
func (f files) List(_ context.Context, dir string) ([]string, error) {
	var names []string
	for name := range f {
		if path.Dir(name) == path.Clean("/"+dir) {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}
