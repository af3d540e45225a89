package transfer

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/disk"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

// target is a file in a folder of its own.
func target(t *testing.T) Target {
	t.Helper()
	return Target{
		Partial: filepath.Join(t.TempDir(), "x.incomplete"),
		Open:    func(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) },
	}
}

// A partial file is deleted where the disk is full, and where its bytes are of no use.
func TestDiskFills(t *testing.T) {
	t.Parallel()
	full := &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	for err, keep := range map[error]bool{
		full:                           false,
		ErrChanged:                     false,
		gguf.ErrNotModel:               false,
		&CorruptError{ErrBadRange}:     false,
		&NetworkError{"h", ErrStalled}: true,
	} {
		if isWorthKeeping(err) != keep {
			t.Errorf("%v: keep %t", err, !keep)
		}
	}
	// A device that is always full stands for a disk that has become so.
	p, err := openAppender(t.Context(), target(t), digest.NoGit, true, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	dev, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("this system has no /dev/full")
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = p.file.Close()
	p.file = dev
	_, err = p.Write([]byte("x"))
	if !disk.IsFull(err) || p.size() != 0 {
		t.Errorf("write to a full disk: %v, size %d", err, p.size())
	}
}
