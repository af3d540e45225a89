package handoff

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/replica"
)

// Write writes h to dir, which it creates if necessary, and returns the file's path. The
// write is atomic: readers see the old file or the complete new one.
func Write(dir string, h Handoff) (string, error) {
	if err := errors.Join(replica.ValidPool(h.PoolID), replica.ValidReplica(h.ReplicaID)); err != nil {
		return "", err
	}
	path := filepath.Join(dir, FileName(h.PoolID, h.ReplicaID))
	if err := write(dir, path, h); err != nil {
		return "", fault.New(fault.Machine, "cannot write the handoff "+path, err,
			folderAdvice(err))
	}
	return path, nil
}

func write(dir, path string, h Handoff) error {
	body, err := h.JSON()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// The temporary file is in the same folder, since a rename is atomic only within one file
	// system. Its name starts with a dot and ends with digits, so *.json does not match it.
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o644))
	if err != nil {
		return err
	}
	defer f.Cleanup() //nolint:errcheck // does nothing after the rename; before it, the first error counts
	if _, err := f.Write(body); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	syncDir(dir)
	return nil
}

// syncDir makes a rename or removal in dir survive a power failure. Some file systems cannot
// do that; the file is valid anyway.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}

// Read reads a handoff. errors.Is(err, fs.ErrNotExist) holds for a missing file.
func Read(path string) (Handoff, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return Handoff{}, err
	}
	var h Handoff
	if err := json.Unmarshal(body, &h); err != nil {
		return Handoff{}, fmt.Errorf("%s is not a handoff: %w", path, err)
	}
	return h, nil
}

// Remove removes a replica's handoff from dir if it describes the container with this id. A
// missing file is no error. A handoff of another container is kept, since it is valid. A
// file that is not a handoff is kept too, with an error.
func Remove(dir, pool, name, container string) error {
	if err := errors.Join(replica.ValidPool(pool), replica.ValidReplica(name)); err != nil {
		return err
	}
	path := filepath.Join(dir, FileName(pool, name))
	h, err := readAs(path, pool, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.New(fault.Usage, "the file "+path+" was not removed", err, "remove it by hand if you do not need it")
	}
	if h.Container.ID != container {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Machine, "cannot remove the handoff "+path, err, "remove it by hand; it is no longer valid")
	}
	syncDir(dir)
	return nil
}

// readAs reads the handoff of one replica.
func readAs(path, pool, name string) (Handoff, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Handoff{}, err
	}
	if !info.Mode().IsRegular() { // reading a pipe would block
		return Handoff{}, errors.New("it is not a regular file")
	}
	h, err := Read(path)
	if err == nil && (h.PoolID != pool || h.ReplicaID != name) {
		err = fmt.Errorf("it belongs to pool %q, replica %q", h.PoolID, h.ReplicaID)
	}
	return h, err
}

// Entry is a file with the name of a handoff.
type Entry struct {
	// Path is the file's path.
	Path string
	// Pool and Replica are the replica in the file's name.
	Pool, Replica string
	// Handoff is the content; zero if Err says why it is not that replica's handoff.
	Handoff Handoff
	Err     error
}

// List returns the files in dir with the name of a handoff, sorted by name. A missing folder
// has none.
func List(dir string) ([]Entry, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.New(fault.Usage, "cannot read the handoff folder "+dir, err, "name a readable folder with `handoff-dir`")
	}
	var out []Entry
	for _, f := range files {
		pool, name, ok := replica.ParseHandoffFile(f.Name())
		if !ok {
			continue
		}
		e := Entry{Path: filepath.Join(dir, f.Name()), Pool: pool, Replica: name}
		e.Handoff, e.Err = readAs(e.Path, pool, name)
		if !errors.Is(e.Err, fs.ErrNotExist) { // removed since the list was read
			out = append(out, e)
		}
	}
	return out, nil
}

// Resolve returns the absolute path of a handoff folder without symbolic links: every name of
// a folder gives the same path. The folder need not exist.
func Resolve(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for at, rest := dir, ""; ; {
		real, err := filepath.EvalSymlinks(at)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		parent := filepath.Dir(at)
		if !errors.Is(err, fs.ErrNotExist) || at == parent {
			// The error appears when the folder is used.
			return dir, nil
		}
		if _, lerr := os.Lstat(at); lerr == nil {
			return dir, nil // a dangling link
		}
		rest = filepath.Join(filepath.Base(at), rest)
		at = parent
	}
}

// CheckWritable checks that a handoff can be written to dir, by writing a test file. If dir
// does not exist, it tests the folder where dir would be created. It leaves no trace and
// never creates dir: another process may be about to write there.
func CheckWritable(dir string) error {
	if err := checkWritable(dir); err != nil {
		return fault.New(fault.Usage, "cannot write to the handoff folder "+dir, err,
			folderAdvice(err))
	}
	return nil
}

// folderAdvice says what to do about a folder that cannot be written, by the cause.
func folderAdvice(err error) string {
	const other = "name another folder with `handoff-dir`"
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return "make the folder writable for this user, or " + other
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "free space on its disk, or " + other
	}
	return other
}

func checkWritable(dir string) error {
	there, err := nearest(dir)
	if err != nil {
		return err
	}
	probe, err := os.MkdirTemp(there, ".llorch-probe-")
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(probe, "probe"), []byte("probe"), 0o644), os.RemoveAll(probe))
}

// nearest is dir, or its nearest parent that exists.
func nearest(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			// A dangling link exists, but no folder can be created in its place.
			_, err := os.Stat(dir)
			return dir, err
		}
		dir = filepath.Dir(dir)
	}
}
