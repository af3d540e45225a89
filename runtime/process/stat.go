package process

import (
	"fmt"
	"strconv"
	"strings"
)

// Stat is what the kernel says of a process.
type Stat struct {
	// Name is the name of its program, at most 15 bytes.
	Name string
	// Ended is true for a process that has ended and whose parent has not asked for
	// its exit status yet.
	Ended bool
	// Started is the time of its start, in ticks since boot.
	Started uint64
}

// Positions in /proc/PID/stat after the name, from proc_pid_stat(5), where the state
// is field 3 and the time of the start is field 22.
const (
	stateField   = 0
	startedField = 22 - 3
)

// ParseStat reads the text of /proc/PID/stat: "PID (NAME) STATE …". The name can
// contain spaces and parentheses.
func ParseStat(raw []byte) (Stat, error) {
	text := string(raw)
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return Stat{}, fmt.Errorf("%.40q has no name in parentheses", text)
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) <= startedField {
		return Stat{}, fmt.Errorf("%.40q ends before the time of the start", text)
	}
	started, err := strconv.ParseUint(fields[startedField], 10, 64)
	if err != nil {
		return Stat{}, fmt.Errorf("the time of the start: %w", err)
	}
	state := fields[stateField]
	return Stat{Name: text[open+1 : end], Ended: state == "Z" || state == "X" || state == "x", Started: started}, nil
}
