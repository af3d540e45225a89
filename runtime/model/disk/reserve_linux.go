package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Reserve allocates all of a file's space, so that a full disk fails now and not after
// hours. Where the file system cannot allocate ahead, the file only gets its size.
func Reserve(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size) //nolint:gosec // a file descriptor is small
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINTR) {
		return f.Truncate(size)
	}
	if err != nil {
		return &os.PathError{Op: "reserve", Path: f.Name(), Err: err}
	}
	return nil
}

// WriteBack starts to write a part of a file to the disk, so that the sync at the end
// has little left to do. It is only a hint.
func WriteBack(f *os.File, at, length int64) {
	_ = unix.SyncFileRange(int(f.Fd()), at, length, unix.SYNC_FILE_RANGE_WRITE) //nolint:gosec // as above
}
