//go:build unix

package docker

import (
	"io/fs"
	"strconv"
	"syscall"
)

// groupOf is the id of a file's group.
func groupOf(info fs.FileInfo) (string, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", false
	}
	return strconv.FormatUint(uint64(st.Gid), 10), true
}
