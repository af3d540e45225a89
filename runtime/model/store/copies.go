package store

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/llorch/llorch-bk/runtime/model/disk"
)

// Copies reports whether the store's file system has no symlinks, as FAT and some network
// shares have none. A snapshot then has the files themselves, and no blobs stay. It is
// asked once, by making a link, so that a store that cannot be written is an error before
// anything is fetched.
func (s *Store) Copies() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.linksKnown {
		return s.noLinks, nil
	}
	err := s.within(s.dir, func() error {
		// A folder of its own: another process, or a container with the same process
		// ID, may ask in the same store at the same moment.
		trial, err := os.MkdirTemp(s.dir, ".link-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(trial)
		p := filepath.Join(trial, "link")
		err = s.symlink("nothing", p)
		if err == nil {
			return nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			return err
		}
		f, ferr := os.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
		if ferr != nil {
			return ferr
		}
		s.noLinks = true
		return f.Close()
	})
	s.linksKnown = err == nil
	return s.noLinks, err
}

// Link shows a blob as a snapshot's file, and records it as ours. The file is a symlink,
// relative so that it holds wherever the folder is mounted; where the file system has no
// symlinks, it is the content itself.
func (d Folder) Link(commit, file, blob string) error {
	copies, err := d.store.Copies()
	if err != nil {
		return err
	}
	r := d.record()
	if c, err := d.look(r, commit, file); err == nil && c.ours && c.blob == blob && c.link == !copies {
		return nil
	}
	if !copies {
		err = d.symlink(commit, file, blob)
	} else if from, ok := d.contentOf(r, blob, -1); ok {
		err = d.place(commit, file, blob, from, r.owns(blob))
	} else {
		err = &fs.PathError{Op: "open", Path: d.Blob(blob), Err: fs.ErrNotExist}
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(d.File(commit, file))
	if errors.Is(err, fs.ErrNotExist) && !copies {
		return nil // a link to a blob that is not here
	}
	if err != nil {
		return err
	}
	return d.changeRecord(func(r *record) { r.Files[useOf(commit, file)] = recorded{blob, info.Size()} })
}

// owns reports whether this program put a blob there.
func (r record) owns(blob string) bool {
	_, ok := r.Blobs[blob]
	return ok
}

func (d Folder) symlink(commit, file, blob string) error {
	depth := strings.Count(d.Rel(commit, file), "/")
	target := filepath.FromSlash(strings.Repeat("../", depth) + path.Join("blobs", blob))
	p := d.File(commit, file)
	if old, err := os.Readlink(p); err == nil && old == target {
		return nil
	}
	return d.store.within(filepath.Dir(p), func() error { return renameio.Symlink(target, p) })
}

// place makes the content of a blob a snapshot's file. A blob of ours is moved, so that it
// takes its space once. Any other file is cloned, linked, or copied.
func (d Folder) place(commit, file, blob, from string, isOurs bool) error {
	to := d.File(commit, file)
	tmp := from
	if from != d.Blob(blob) || !isOurs {
		tmp = d.Blob(blob) + ".placed"
		if err := d.store.within(d.path("blobs"), func() error { return duplicate(from, tmp) }); err != nil {
			_ = os.Remove(tmp)
			return err
		}
	}
	err := d.store.within(filepath.Dir(to), func() error { return os.Rename(tmp, to) })
	if err != nil && tmp != from {
		_ = os.Remove(tmp)
	}
	_ = os.Remove(d.path("blobs")) // where it is empty
	return err
}

// duplicate makes a second file of the same content, and asks for the room for it.
func duplicate(from, to string) error {
	_ = os.Remove(to)
	if disk.Clone(from, to, fileMode) == nil {
		return disk.Chmod(to, fileMode)
	}
	// A second name shares the file's mode, which is not ours to change.
	if info, err := os.Stat(from); err == nil && info.Mode()&everybody == everybody && os.Link(from, to) == nil {
		return nil
	}
	need := disk.Size(from)
	free, err := disk.Free(filepath.Dir(to))
	if err != nil {
		return err
	}
	if free < need {
		return &disk.NoSpaceError{Dir: filepath.Dir(to), Need: need, Free: free}
	}
	return disk.Copy(from, to, fileMode)
}
