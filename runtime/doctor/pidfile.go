package doctor

import (
	"fmt"
	"strconv"
	"strings"
)

// pidFile is a file by which a daemon says that it runs. An engine refuses to
// start, or waits for a containerd that is not there, when one is left over
// and its number belongs to some other process by now.
type pidFile struct {
	path string
	// program is the daemon's name as the kernel shows it.
	program string
	// argument is part of the daemon's command line where the name alone does
	// not tell it from another instance.
	argument string
}

var (
	daemonPID     = pidFile{path: "/var/run/docker.pid", program: "dockerd"}
	containerdPID = pidFile{
		path: "/var/run/docker/containerd/containerd.pid", program: "containerd", argument: "docker/containerd",
	}
)

// procReader is the part of System that tells processes.
type procReader interface {
	ReadFile(path string) ([]byte, error)
	Exists(path string) bool
}

// owner says who a pid file names: whether it is there at all, and whether the
// process is alive and is the daemon.
func (f pidFile) owner(sys procReader) (o struct {
	present, alive bool
	pid            int
},
) {
	raw, err := sys.ReadFile(f.path)
	if err != nil {
		// A file that cannot be read is no proof of a stale one.
		return o
	}
	o.present = true
	o.pid, err = strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || o.pid <= 0 {
		return o
	}
	// proc_pid_stat(5): "pid (name) state …"; the name may hold parentheses.
	stat, err := sys.ReadFile(fmt.Sprintf("/proc/%d/stat", o.pid))
	if err != nil {
		return o
	}
	_, rest, _ := strings.Cut(string(stat), "(")
	end := strings.LastIndex(rest, ")")
	if end < 0 || rest[:end] != f.program {
		return o
	}
	// A dead process whose parent has not asked for it still has an entry.
	if state := strings.TrimSpace(rest[end+1:]); strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X") {
		return o
	}
	if f.argument != "" {
		line, _ := sys.ReadFile(fmt.Sprintf("/proc/%d/cmdline", o.pid))
		if !strings.Contains(string(line), f.argument) {
			return o
		}
	}
	o.alive = true
	return o
}

// stale are the pid files that nothing stands behind.
func stale(sys procReader) []string {
	var paths []string
	for _, f := range []pidFile{daemonPID, containerdPID} {
		if o := f.owner(sys); o.present && !o.alive {
			paths = append(paths, f.path)
		}
	}
	return paths
}
