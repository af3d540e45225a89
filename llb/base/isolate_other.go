//go:build !linux

package base

import "syscall"

// isolate has nothing to do where mmdebstrap does not run.
func isolate(*syscall.SysProcAttr) {}
