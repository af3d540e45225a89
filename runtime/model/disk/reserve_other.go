//go:build !linux

package disk

import "os"

// Reserve only gives a file its size: nothing is allocated ahead here.
func Reserve(f *os.File, size int64) error { return f.Truncate(size) }

// WriteBack does nothing: the file is written to the disk when it is synced.
func WriteBack(*os.File, int64, int64) {}
