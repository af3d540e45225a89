package process

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// dialTimeout is how long a connection to a socket of this machine may take.
const dialTimeout = 10 * time.Second

// Listener identifies the process that listens at a unix socket. ok is false if
// nobody does, for example at a socket that a killed daemon left behind.
func Listener(ctx context.Context, socket string) (p Process, ok bool, err error) {
	c, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", socket)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ECONNREFUSED) {
		return Process{}, false, nil
	}
	if err != nil {
		return Process{}, false, err
	}
	// A daemon that is asked to end waits for its connections.
	defer c.Close()
	pid, err := peer(c)
	if err != nil {
		return Process{}, false, err
	}
	if pid <= 0 {
		return Process{}, false, errors.New("the process that listens is in another PID namespace")
	}
	p, err = Find(pid)
	if errors.Is(err, os.ErrProcessDone) {
		return Process{}, false, nil
	}
	return p, err == nil, err
}
