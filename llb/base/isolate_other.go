//go:build !linux

package base

import "syscall"

// isolate does nothing on systems that mmdebstrap does not run on.
func isolate(*syscall.SysProcAttr) {}
