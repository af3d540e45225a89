//go:build unix

// Package disk answers one question: what can the disk do? It hides the differences
// between systems and file systems.
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"
)

// NoSpaceError means that a disk has no room for what is to be written.
type NoSpaceError struct {
	Dir string
	// Need and Free are in bytes.
	Need, Free int64
}

func (e *NoSpaceError) Error() string {
	return fmt.Sprintf("%s needs %s more and has %s free", e.Dir, units.BytesSize(float64(e.Need)), units.BytesSize(float64(e.Free)))
}

// Free is how many bytes an unprivileged user may still write where dir is, or will be.
func Free(dir string) (int64, error) {
	for {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		if err == nil {
			// The fields' types differ between systems, hence the conversions.
			return int64(uint64(st.Bavail) * uint64(st.Bsize)), nil //nolint:gosec,unconvert // a disk is smaller than 8 EiB
		}
		if parent := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && parent != dir {
			dir = parent
			continue
		}
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
}

// Allocated is how many bytes a file takes of its disk, at most its size: a file that
// grows in pieces has holes. It is 0 where there is no such file.
func Allocated(path string) int64 {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.Size()
	}
	return min(info.Size(), int64(st.Blocks)*512) //nolint:unconvert // the field's type differs between systems
}

// Size is a file's size in bytes, 0 where there is none.
func Size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

// Copy makes a new file with another's content, synced to the disk.
func Copy(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, ChmodFile(out, mode), out.Sync(), out.Close())
}

// SyncDir writes a folder's entries to the disk, so that a rename in it survives a crash.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// IsFull reports whether a write failed because the disk or the quota is full.
func IsFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// IsTooLarge reports whether a write failed because the file system takes no file of that
// size.
func IsTooLarge(err error) bool { return errors.Is(err, unix.EFBIG) }

// IsPathError reports whether something failed on the disk, and not on the network.
func IsPathError(err error) bool {
	var path *fs.PathError
	var link *os.LinkError
	return errors.As(err, &path) || errors.As(err, &link)
}

// IsReadOnly reports whether a write failed because the place cannot be written at all.
func IsReadOnly(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS)
}
