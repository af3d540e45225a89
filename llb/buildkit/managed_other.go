//go:build !linux

package buildkit

import (
	"errors"
	"net"
)

// Elsewhere no managed builder runs as a process.

func peer(net.Conn) (int, error)  { return 0, errors.ErrUnsupported }
func terminate(int) error         { return errors.ErrUnsupported }
func alive(int) bool              { return false }
func unmount(string)              {}
func mountsBelow(string) []string { return nil }
