package base

import "syscall"

// isolate gives a root mmdebstrap its own mount namespace. mmdebstrap binds this machine's
// /dev and /proc into the system that it makes. If it is killed at the wrong moment, the
// mounts stay, and deleting the folder would delete this machine's own files. In a
// namespace, the mounts end with its last process.
func isolate(attr *syscall.SysProcAttr) { attr.Unshareflags = syscall.CLONE_NEWNS }
