package process

import (
	"bytes"
	"io"
	"os"
	"strings"
)

const (
	// logLines is the number of lines of a daemon's log that an error shows.
	logLines = 20
	// logTail is how much of a log is read for them, in bytes: a daemon that fails
	// in a loop can write a lot.
	logTail = 64 << 10
)

// lastLines returns the last lines of a log that were written after an offset.
func lastLines(path string, begin int64) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		begin = max(begin, end-logTail)
	}
	if _, err := f.Seek(begin, io.SeekStart); err != nil {
		return nil
	}
	raw, _ := io.ReadAll(f)
	var lines []string
	for line := range bytes.Lines(raw) {
		if text := strings.TrimRight(string(line), "\r\n"); text != "" {
			lines = append(lines, text)
		}
	}
	return lines[max(0, len(lines)-logLines):]
}
