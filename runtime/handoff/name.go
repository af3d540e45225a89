package handoff

import "github.com/llorch/llorch-bk/runtime/replica"

// The default pool and replica.
const (
	DefaultPool    = replica.DefaultPool
	DefaultReplica = replica.DefaultReplica
)

// FileName is the name of a replica's handoff in its folder.
func FileName(pool, name string) string {
	return replica.ID{Pool: pool, Replica: name}.HandoffFile()
}
