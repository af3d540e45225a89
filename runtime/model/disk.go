//go:build unix

package model

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// freeSpace is how many bytes an unprivileged user may still write where dir is,
// or will be.
func freeSpace(dir string) (int64, error) {
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

// allocated is the space that a file takes.
func allocated(info fs.FileInfo) int64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.Size()
	}
	return int64(st.Blocks) * 512 //nolint:unconvert // the field's type differs between systems
}

// isFull says whether a write failed for want of room.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// isDisk says whether something failed in the store and not on the network.
func isDisk(err error) bool {
	var path *fs.PathError
	var link *os.LinkError
	return errors.As(err, &path) || errors.As(err, &link)
}

// isReadOnly says whether a write failed since the place cannot be written at all.
func isReadOnly(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS)
}
