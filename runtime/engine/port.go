package engine

import (
	"fmt"

	"github.com/llorch/llorch-bk/images/fault"
)

// PortInUse is the error for a port that a server is to have and somebody else has.
func PortInUse(listen string, port int, why error) error {
	return fault.New(fault.Engine, fmt.Sprintf("port %d on %s is in use", port, listen), why,
		"stop that, give another `port`, or none for one that is free")
}
