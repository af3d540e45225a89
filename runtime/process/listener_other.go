//go:build !linux

package process

import (
	"errors"
	"net"
)

// peer is for Linux only: no daemon of this program runs elsewhere.
func peer(net.Conn) (int, error) { return 0, errors.ErrUnsupported }
