//go:build unix

package disk

import (
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Facts are what the file system says of a file. A file that was replaced or written to
// has others: by inode, size, or a time.
type Facts struct {
	Inode uint64 `json:"inode"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// Modified is when the content was last written, and Changed when anything of the file
	// was, in nanoseconds since 1970. Changed is 0 on systems where it is not read.
	Modified int64 `json:"modified"`
	Changed  int64 `json:"changed"`
}

// FactsOf are the facts of a file that was looked at.
func FactsOf(info fs.FileInfo) Facts {
	f := Facts{Size: info.Size(), Modified: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		f.Inode, f.Changed = st.Ino, changed(st)
	}
	return f
}

// FactsAt are the facts of the file at a path. It follows symlinks.
func FactsAt(path string) (Facts, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Facts{}, err
	}
	return FactsOf(info), nil
}

// coarsest is the longest step in which a file system counts time: FAT's two seconds, and
// one more for clocks that differ.
const coarsest = 3 * time.Second

// Settled reports whether the file was left alone for long enough before now that a later
// write gives it other facts.
func (f Facts) Settled(now time.Time) bool {
	return now.UnixNano()-max(f.Modified, f.Changed) > int64(coarsest)
}

// Links is how many names a file has, 1 where that cannot be told. Removing one of
// several names frees no space.
func Links(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink) //nolint:unconvert // the field's type differs between systems
	}
	return 1
}
