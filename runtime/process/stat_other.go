//go:build !linux

package process

import (
	"errors"
	"os"
	"syscall"
)

// stat looks whether there is a process with a PID. Without /proc it knows neither
// the name of the process nor the time of its start.
func stat(pid int) (Stat, error) {
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return Stat{}, os.ErrProcessDone
	}
	return Stat{}, nil
}
