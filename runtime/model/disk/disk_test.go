package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestSizes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := filepath.Join(dir, "f")
	f, err := os.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 16 << 20
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if got := Size(p); got != size {
		t.Errorf("size %d", got)
	}
	if got := Allocated(p); got >= size {
		t.Errorf("a file that is one hole takes %d bytes", got)
	}
	for _, none := range []string{dir, p + "x"} {
		if Size(none) != 0 || Allocated(none) != 0 {
			t.Errorf("%s has a size", none)
		}
	}
	if free, err := Free(filepath.Join(dir, "not", "there")); err != nil || free <= 0 {
		t.Errorf("free where nothing is yet: %d, %v", free, err)
	}
}

func TestCopy(t *testing.T) {
	t.Parallel()
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
	if err := os.WriteFile(from, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Copy(from, to, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(to)
	info, _ := os.Stat(to)
	if err != nil || string(got) != "content" || info.Mode() != 0o644 {
		t.Errorf("%q, %v, %v", got, info.Mode(), err)
	}
	if err := Copy(from, to, 0o644); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over what is there: %v", err)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for err, want := range map[error][3]bool{
		&fs.PathError{Err: syscall.ENOSPC}: {true, true, false},
		&fs.PathError{Err: syscall.EDQUOT}: {true, true, false},
		&os.LinkError{Err: syscall.EROFS}:  {false, true, true},
		&fs.PathError{Err: syscall.EACCES}: {false, true, true},
		errors.New("the network"):          {},
	} {
		if got := [3]bool{IsFull(err), IsPathError(err), IsReadOnly(err)}; got != want {
			t.Errorf("%v: full, on the disk, read-only: %v, want %v", err, got, want)
		}
	}
}
