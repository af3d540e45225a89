package process

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// adminPath are the folders in which a daemon finds iptables and modprobe.
const adminPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// daemonEnv returns an environment without the variables that are meant for this
// process alone, and with the administrator's folders at the end of PATH.
func daemonEnv(env []string) []string {
	if env == nil {
		env = os.Environ()
	}
	path := adminPath
	var kept []string
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		switch name {
		case "PATH":
			path = value + ":" + adminPath
		case "TMPDIR", "NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "MAKEFLAGS", "MFLAGS", "PWD", "OLDPWD":
		default:
			kept = append(kept, kv)
		}
	}
	return append(kept, "PATH="+path)
}

// closeOnExec keeps a child from inheriting the descriptors that this process
// inherited itself, such as make's job server or a CI job's pipes. Whoever reads
// such a pipe would wait for as long as the daemon runs. Go sets the flag on the
// descriptors that it opens.
func closeOnExec() {
	for _, dir := range []string{"/proc/self/fd", "/dev/fd"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
				syscall.CloseOnExec(fd)
			}
		}
		return
	}
}
