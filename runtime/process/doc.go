// Package process runs programs of this machine in the background: it starts a
// daemon that outlives its parent, finds a process by its socket or its PID file,
// and ends it. A process is identified by its PID and the time of its start,
// because the kernel gives a PID to another process later.
package process
