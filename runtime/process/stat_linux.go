package process

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// stat looks at the process with a PID; os.ErrProcessDone if there is none.
func stat(pid int) (Stat, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	// ESRCH is a process that ended between the opening of the file and its reading.
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return Stat{}, os.ErrProcessDone
	}
	if err != nil {
		return Stat{}, err
	}
	return ParseStat(raw)
}
