package handoff

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/replica"
)

// Write puts h into dir, which it makes if need be, and returns the file's path.
// A reader sees the whole file or, until then, what was there before.
func Write(dir string, h Handoff) (string, error) {
	if err := errors.Join(replica.ValidPool(h.PoolID), replica.ValidReplica(h.ReplicaID)); err != nil {
		return "", err
	}
	path := filepath.Join(dir, FileName(h.PoolID, h.ReplicaID))
	if err := write(dir, path, h); err != nil {
		return "", fault.New(fault.Machine, "the handoff "+path+" cannot be written", err,
			"make the folder writable, or name another with `handoff-dir`")
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
	// The temporary file is in the same folder, since a rename is atomic only
	// within a file system. Its name is the file's own with a dot before and
	// digits behind, so that who looks for *.json passes it by.
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

// syncDir makes a rename or removal in dir outlive a power cut where the file
// system can; where it cannot, the file is still as good as any other.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}

// Read gives the handoff in the file path. A file that is absent is an error
// that errors.Is fs.ErrNotExist.
func Read(path string) (Handoff, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return Handoff{}, err
	}
	var h Handoff
	if err := json.Unmarshal(body, &h); err != nil {
		return Handoff{}, fmt.Errorf("%s is no handoff: %w", path, err)
	}
	return h, nil
}

// Remove takes a replica's handoff out of dir, if it tells of the container with an
// id. One that is absent is removed already, and one that tells of another container
// is true of that; a file under its name that is something else stays, with an error.
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
		return fault.New(fault.Usage, "the file "+path+" was left alone", err, "look at it, and remove it by hand if it is of no use")
	}
	if h.Container.ID != container {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Machine, "the handoff "+path+" cannot be removed", err, "remove it by hand: what it says is no longer true")
	}
	syncDir(dir)
	return nil
}

// readAs reads a handoff that has to be a replica's.
func readAs(path, pool, name string) (Handoff, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Handoff{}, err
	}
	if !info.Mode().IsRegular() { // reading a pipe would wait for ever
		return Handoff{}, errors.New("it is no regular file")
	}
	h, err := Read(path)
	if err == nil && (h.PoolID != pool || h.ReplicaID != name) {
		err = fmt.Errorf("it belongs to pool %q, replica %q", h.PoolID, h.ReplicaID)
	}
	return h, err
}

// Entry is a file that has the name of a handoff.
type Entry struct {
	// Path is the file's.
	Path string
	// Pool and Replica are whose handoff its name says it is.
	Pool, Replica string
	// Handoff is what it says; zero where Err says why it is no handoff of theirs.
	Handoff Handoff
	Err     error
}

// List gives the files of dir that have the name of a handoff, in the order of
// their names. A folder that does not exist has none.
func List(dir string) ([]Entry, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.New(fault.Usage, "the handoff folder "+dir+" cannot be read", err, "make it readable, or name another with `handoff-dir`")
	}
	var out []Entry
	for _, f := range files {
		pool, name, ok := replica.ParseHandoffFile(f.Name())
		if !ok {
			continue
		}
		e := Entry{Path: filepath.Join(dir, f.Name()), Pool: pool, Replica: name}
		e.Handoff, e.Err = readAs(e.Path, pool, name)
		if !errors.Is(e.Err, fs.ErrNotExist) { // removed since
			out = append(out, e)
		}
	}
	return out, nil
}

// Resolve is the absolute path of a handoff folder without symbolic links, by which
// it is the same folder however it is named. It need not exist.
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
			// What is in the way is said when the folder is to be used.
			return dir, nil
		}
		if _, lerr := os.Lstat(at); lerr == nil {
			return dir, nil // a link that leads nowhere
		}
		rest = filepath.Join(filepath.Base(at), rest)
		at = parent
	}
}

// CheckWritable proves that a handoff can be written into dir by writing
// something else there, or where dir does not exist, into the folder that it
// would be made in. It leaves no trace, and never makes dir itself: whoever
// starts at the same time may be about to write there.
func CheckWritable(dir string) error {
	if err := checkWritable(dir); err != nil {
		return fault.New(fault.Usage, "the handoff folder "+dir+" cannot be written to", err,
			"make it writable, or name another with `handoff-dir`")
	}
	return nil
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

// nearest is dir, or of what is above it the nearest that exists.
func nearest(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			// A link that leads nowhere is there, and no folder can be made in its place.
			_, err := os.Stat(dir)
			return dir, err
		}
		dir = filepath.Dir(dir)
	}
}
