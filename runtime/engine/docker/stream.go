package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/docker/docker/api/types/container"
)

// stream writes files to dir in a container. It creates the tar stream while sending it: a
// model may be larger than the memory and the free disk space.
func (d *Engine) stream(ctx context.Context, id, dir string, files []modelFile) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := writeTar(w, files, d.copying)
		w.CloseWithError(err)
		written <- err
	}()
	err := d.api.CopyToContainer(ctx, id, dir, r, container.CopyToContainerOptions{})
	// If the engine stops reading early, the writer must not block.
	r.CloseWithError(io.ErrClosedPipe)
	if werr := <-written; werr != nil && !errors.Is(werr, io.ErrClosedPipe) {
		return werr
	}
	return err
}

// writeTar writes files and their folders to a tar stream, owned by root and readable by all
// or by their group.
func writeTar(to io.Writer, files []modelFile, copying func(done, total int64)) error {
	w := tar.NewWriter(to)
	made := map[string]bool{".": true}
	var total, done int64
	for _, f := range files {
		total += f.size
	}
	for _, f := range files {
		for i, c := range f.rel {
			if dir := f.rel[:i]; c == '/' && !made[dir] {
				made[dir] = true
				if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}); err != nil {
					return err
				}
			}
		}
		if err := writeFile(w, f, func(n int64) { done += n; copying(done, total) }); err != nil {
			return err
		}
	}
	return w.Close()
}

func writeFile(w *tar.Writer, f modelFile, wrote func(int64)) error {
	in, err := os.Open(f.host)
	if err != nil {
		return err
	}
	defer in.Close()
	h := tar.Header{Typeflag: tar.TypeReg, Name: f.rel, Mode: 0o444, Size: f.size}
	if f.group != 0 {
		h.Mode, h.Gid = 0o440, f.group
	}
	if err := w.WriteHeader(&h); err != nil {
		return err
	}
	const chunk = 4 << 20
	for left := f.size; left > 0; {
		n, err := io.CopyN(w, in, min(left, chunk))
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s shrank while it was copied", f.host)
		}
		if err != nil {
			return err
		}
		left -= n
		wrote(n)
	}
	return nil
}

// markerTar is the tar stream with the marker for a complete copy.
func markerTar(key string) (io.Reader, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: marker, Mode: 0o444, Size: int64(len(key))}); err != nil {
		return nil, err
	}
	if _, err := io.Copy(w, strings.NewReader(key)); err != nil {
		return nil, err
	}
	return &b, w.Close()
}
