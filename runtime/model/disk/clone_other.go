//go:build !linux

package disk

import (
	"errors"
	"io/fs"
)

// Clone always fails here: blocks are shared on Linux only. The caller links or copies.
func Clone(string, string, fs.FileMode) error { return errors.ErrUnsupported }
