package doctor

import "github.com/llorch/llorch-bk/runtime/process"

// The PID files of an engine and of the containerd that it starts. The engine
// refuses to start, or waits for a containerd that does not exist, if such a file is
// left over and its PID belongs to another process.
var (
	daemonPID     = process.PIDFile{Path: "/var/run/docker.pid", Program: "dockerd"}
	containerdPID = process.PIDFile{
		Path: "/var/run/docker/containerd/containerd.pid", Program: "containerd", Argument: "docker/containerd",
	}
)

// stale returns the PID files whose daemons do not run.
func stale(files process.Files) []string {
	var paths []string
	for _, f := range []process.PIDFile{daemonPID, containerdPID} {
		if o := f.Owner(files); o.Present && !o.Runs {
			paths = append(paths, f.Path)
		}
	}
	return paths
}
