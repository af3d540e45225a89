package model

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// reserve takes a file's whole space on the disk, so that a disk without room is
// known now and not after hours. A file system that cannot promise it is no error.
func reserve(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size) //nolint:gosec // a file descriptor is small
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINTR) {
		return f.Truncate(size)
	}
	if err != nil {
		return &os.PathError{Op: "reserve", Path: f.Name(), Err: err}
	}
	return nil
}

// writeBack starts writing a part of a file to the disk, so that there is little
// left to wait for when the file is whole and has to be on the disk. It is only a
// hint.
func writeBack(f *os.File, at, length int64) {
	_ = unix.SyncFileRange(int(f.Fd()), at, length, unix.SYNC_FILE_RANGE_WRITE) //nolint:gosec // as above
}
