package process

import (
	"fmt"
	"strconv"
	"strings"
)

// PIDFile is a file that holds the PID of a daemon. The daemon can be gone, and its
// PID can belong to another process.
type PIDFile struct {
	Path string
	// Program is the daemon's name as the kernel shows it.
	Program string
	// Argument is a part of the daemon's command line, for a daemon whose name alone
	// does not tell it from other instances; otherwise empty.
	Argument string
}

// Files reads files of a machine.
type Files interface {
	ReadFile(path string) ([]byte, error)
}

// Owner is what a PID file says, checked against the processes.
type Owner struct {
	// Present means that the file can be read. A file that cannot be read proves nothing.
	Present bool
	// Runs means that the daemon runs, with this PID.
	Runs bool
	PID  int
}

// Owner reads the file, and looks in /proc whether its PID is the daemon's.
func (f PIDFile) Owner(machine Files) Owner {
	raw, err := machine.ReadFile(f.Path)
	if err != nil {
		return Owner{}
	}
	o := Owner{Present: true}
	o.PID, err = strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || o.PID <= 0 {
		return o
	}
	raw, err = machine.ReadFile(fmt.Sprintf("/proc/%d/stat", o.PID))
	if err != nil {
		return o
	}
	s, err := ParseStat(raw)
	if err != nil || s.Ended || s.Name != f.Program {
		return o
	}
	if f.Argument != "" {
		line, _ := machine.ReadFile(fmt.Sprintf("/proc/%d/cmdline", o.PID))
		if !strings.Contains(string(line), f.Argument) {
			return o
		}
	}
	o.Runs = true
	return o
}
