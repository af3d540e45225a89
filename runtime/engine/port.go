package engine

import (
	"fmt"

	"github.com/llorch/llorch-bk/images/fault"
)

// PortInUse is the error for a requested port that another program uses.
func PortInUse(listen string, port int, why error) error {
	return fault.New(fault.Engine, fmt.Sprintf("port %d on %s is in use", port, listen), why,
		"stop the other program, choose another `port`, or remove it to get a free one")
}
