package builder

import "fmt"

// The disk budget of a managed builder, in megabytes: what it keeps at least, what
// it leaves free on the disk, and the most that it takes.
const (
	reservedMB = 2_000
	freeMB     = 5_000
	maxMB      = 40_000
)

// budget returns the disk budget as buildkitd's flag.
func budget() string {
	return fmt.Sprintf("--oci-worker-gc-keepstorage=%d,%d,%d", reservedMB, freeMB, maxMB)
}
