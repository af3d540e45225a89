package store

import (
	"io/fs"
	"os"

	"github.com/llorch/llorch-bk/runtime/model/disk"
)

// everybody is what a file's mode must allow for a container's user to read it.
const everybody fs.FileMode = 0o444

// Adopt makes a blob of another program's file, which must be verified: a clone that
// shares its space, else a second name, else a copy. The file itself is not changed. Room
// is asked before bytes are copied. How says what was done.
func (d Folder) Adopt(theirs, blob string, room func() error) (how string, err error) {
	info, err := os.Stat(theirs)
	if err != nil {
		return "", err
	}
	final := d.Blob(blob)
	tmp := final + ".adopted"
	err = d.store.within(d.path("blobs"), func() error {
		_ = os.Remove(tmp)
		if disk.Clone(theirs, tmp, fileMode) == nil {
			how = "cloned, so it takes no more space"
			return disk.Chmod(tmp, fileMode)
		}
		// A second name shares the file's mode, and the mode of another program's file is
		// not ours to change.
		if info.Mode()&everybody == everybody && os.Link(theirs, tmp) == nil {
			how = "linked, so it takes no more space"
			return nil
		}
		if err := room(); err != nil {
			return err
		}
		how = "copied"
		return disk.Copy(theirs, tmp, fileMode)
	})
	if err == nil {
		err = os.Rename(tmp, final)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return how, err
	}
	return how, d.Own(blob)
}
