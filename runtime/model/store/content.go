package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// content is what a snapshot's file has.
type content struct {
	// blob is its name, empty for a file whose hash nobody recorded.
	blob string
	// size is in bytes.
	size int64
	// link says that the file is a symlink to the blob.
	link bool
	// ours says that this program made the file.
	ours bool
}

// DamagedError is a file of the store that is not what it was when it was verified.
type DamagedError struct {
	// Path is the file's absolute path, File its slash-separated path in the snapshot.
	Path, File string
	// Got is its size and Want the size that it had, in bytes. Want is 0 where nobody
	// recorded it, and Cut is what its header says.
	Got, Want int64
	Cut       error
}

func (e *DamagedError) Error() string { return e.Path + " is damaged: " + e.what() }

// Unwrap returns Cut.
func (e *DamagedError) Unwrap() error { return e.Cut }

func (e *DamagedError) what() string {
	if e.Cut != nil {
		return e.Cut.Error()
	}
	return fmt.Sprintf("it has %d bytes, want %d", e.Got, e.Want)
}

// look finds what a snapshot's file has. The error wraps fs.ErrNotExist where there is no
// such file, and is a *DamagedError where it is not what it was.
func (d Folder) look(r record, commit, file string) (content, error) {
	p := d.File(commit, file)
	info, err := os.Lstat(p)
	if err != nil {
		return content{}, err
	}
	known, isRecorded := r.Files[useOf(commit, file)]
	var c content
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(p)
		if err != nil {
			return content{}, err
		}
		c.blob, c.link = filepath.Base(target), true
		if info, err = os.Stat(p); err != nil {
			return content{}, err
		}
		// Another tool can have made its own link in our link's place.
		c.ours = isRecorded && known.Blob == c.blob
	} else if isRecorded {
		c.blob, c.ours = known.Blob, true
	}
	if !info.Mode().IsRegular() {
		return content{}, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
	}
	c.size = info.Size()
	want, isKnown := r.Blobs[c.blob]
	if c.ours {
		want, isKnown = known.Size, true
	}
	switch {
	case isKnown && want != c.size:
		return c, &DamagedError{Path: p, File: file, Got: c.size, Want: want}
	case !isKnown:
		// Nobody recorded what was verified, so the header must say where the file ends.
		if err := d.store.isCut(p, info); err != nil {
			return c, &DamagedError{Path: p, File: file, Got: c.size, Cut: err}
		}
	}
	return c, nil
}

// Stored returns the blob and the size in bytes of a snapshot's file. It is false where
// the store does not have that file, or not as it was verified. The blob is empty for a
// file that another tool put there without a link.
func (d Folder) Stored(commit, file string) (blob string, size int64, ok bool) {
	if commit == "" {
		return "", 0, false
	}
	c, err := d.look(d.record(), commit, file)
	if err != nil {
		return "", 0, false
	}
	return c.blob, c.size, true
}

// Files are the slash-separated paths of what the store has whole of a commit.
func (d Folder) Files(commit string) []string {
	if commit == "" {
		return nil
	}
	r := d.record()
	var out []string
	for _, file := range d.names("snapshots", commit) {
		if _, err := d.look(r, commit, file); err == nil {
			out = append(out, file)
		}
	}
	return out
}

// Damaged are the files of a folder that are not what they were when they were verified.
func (d Folder) Damaged() []*DamagedError {
	r := d.record()
	var out []*DamagedError
	for _, commit := range d.Commits() {
		for _, file := range d.names("snapshots", commit) {
			var damaged *DamagedError
			if _, err := d.look(r, commit, file); errors.As(err, &damaged) {
				out = append(out, damaged)
			}
		}
	}
	return out
}

// Has reports whether the content of a blob is there, under whatever file name. Size is
// what it must have in bytes, negative where that is not known.
func (d Folder) Has(blob string, size int64) bool {
	_, ok := d.contentOf(d.record(), blob, size)
	return ok
}

// contentOf is a file with the content of a blob: the blob itself, or the file of a
// snapshot on a file system without symlinks.
func (d Folder) contentOf(r record, blob string, size int64) (path string, ok bool) {
	if blob == "" {
		return "", false
	}
	fits := func(info fs.FileInfo, err error, want int64, isKnown bool) bool {
		return err == nil && info.Mode().IsRegular() && (size < 0 || info.Size() == size) && (!isKnown || info.Size() == want)
	}
	want, isKnown := r.Blobs[blob]
	if info, err := os.Stat(d.Blob(blob)); fits(info, err, want, isKnown) {
		return d.Blob(blob), true
	}
	for at, known := range r.Files {
		if known.Blob != blob {
			continue
		}
		p := d.path("snapshots", filepath.FromSlash(at))
		if info, err := os.Lstat(p); fits(info, err, known.Size, true) {
			return p, true
		}
	}
	return "", false
}
