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
)

// Write puts h into dir, which it makes if need be, and returns the file's path.
// A reader sees the whole file or, until then, what was there before.
func Write(dir string, h Handoff) (string, error) {
	if err := errors.Join(ValidID(h.PoolID), ValidReplicaID(h.ReplicaID)); err != nil {
		return "", err
	}
	path := filepath.Join(dir, FileName(h.PoolID, h.ReplicaID))
	if err := write(dir, path, h); err != nil {
		return "", fault.New(fault.Usage, "the handoff "+path+" cannot be written", err,
			"make the folder writable, or name another with --handoff-dir")
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

// Remove takes a replica's handoff out of dir. One that is absent is removed
// already; a file under its name that says it is something else stays, with an
// error.
func Remove(dir, pool, replica string) error {
	if err := errors.Join(ValidID(pool), ValidReplicaID(replica)); err != nil {
		return err
	}
	path := filepath.Join(dir, FileName(pool, replica))
	h, err := Read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && (h.PoolID != pool || h.ReplicaID != replica):
		err = fmt.Errorf("it belongs to pool %q, replica %q", h.PoolID, h.ReplicaID)
	}
	if err != nil {
		return fault.New(fault.Usage, "the file "+path+" was left alone", err, "look at it, and remove it by hand if it is of no use")
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Usage, "the handoff "+path+" cannot be removed", err, "remove it by hand: what it says is no longer true")
	}
	syncDir(dir)
	return nil
}

// CheckWritable proves that a handoff can be written into dir by writing
// something else there. It leaves no trace, neither the file nor folders that
// it had to make.
func CheckWritable(dir string) error {
	if err := checkWritable(dir); err != nil {
		return fault.New(fault.Usage, "the handoff folder "+dir+" cannot be written to", err,
			"make it writable, or name another with --handoff-dir")
	}
	return nil
}

func checkWritable(dir string) (err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return err
	}
	missing := missingDirs(dir)
	defer func() {
		for _, d := range missing {
			// Not RemoveAll: somebody else may have begun to use it.
			_ = os.Remove(d)
		}
	}()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".llorch-probe-")
	if err != nil {
		return err
	}
	_, err = f.WriteString("probe")
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// missingDirs are dir and those above it that do not exist, deepest first.
func missingDirs(dir string) []string {
	var missing []string
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Lstat(d); !errors.Is(err, fs.ErrNotExist) || d == filepath.Dir(d) {
			return missing
		}
		missing = append(missing, d)
	}
}
