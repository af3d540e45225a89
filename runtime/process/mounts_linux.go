package process

import (
	"os"
	"slices"
	"strings"
	"syscall"
)

// Unmount detaches everything that is mounted below a folder. A daemon that was
// killed leaves its mounts behind, and they would keep the folder from being removed.
func Unmount(dir string) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return
	}
	for _, path := range mountsBelow(string(mounts), dir) {
		_ = syscall.Unmount(path, syscall.MNT_DETACH)
	}
}

// escaped are the characters that the kernel writes as octal numbers in the table.
var escaped = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`, `\043`, "#")

// mountsBelow returns the mount points of a mount table, see proc_pid_mounts(5), that
// are inside a folder, the last mounted first.
func mountsBelow(table, dir string) []string {
	var out []string
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		if path := escaped.Replace(f[1]); strings.HasPrefix(path, dir+"/") {
			out = append(out, path)
		}
	}
	slices.Reverse(out)
	return out
}
