//go:build unix

package docker

import (
	"io/fs"
	"strconv"
	"syscall"
)

// groupOf is the id of the group that a file belongs to.
func groupOf(info fs.FileInfo) (string, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", false
	}
	return strconv.FormatUint(uint64(st.Gid), 10), true
}
