//go:build unix

package disk

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Chmod sets the mode of a file or folder. A file system that has no modes of its own,
// such as FAT, refuses: there the mount's options decide, and that is no error.
func Chmod(path string, mode fs.FileMode) error { return unlessModeless(os.Chmod(path, mode)) }

// ChmodFile is Chmod of an open file.
func ChmodFile(f *os.File, mode fs.FileMode) error { return unlessModeless(f.Chmod(mode)) }

func unlessModeless(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}
