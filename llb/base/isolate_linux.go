package base

import "syscall"

// isolate gives a root mmdebstrap a mount namespace of its own. It binds this
// machine's /dev and /proc into the system that it makes, and when it is
// stopped at the wrong moment it leaves them there: with them still visible,
// deleting the folder would delete this machine's own files. In a namespace
// they go with its last process.
func isolate(attr *syscall.SysProcAttr) { attr.Unshareflags = syscall.CLONE_NEWNS }
