// Package replica names a project's pools and their replicas. The names of containers, files
// and locks follow from these names alone. It is pure.
package replica

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
)

// The default pool and replica.
const (
	DefaultPool    = "default"
	DefaultReplica = "r0"
)

// ID names one replica of a project's pool. Together with an engine's id it identifies a
// server.
type ID struct {
	// Project is the absolute path of the handoff folder, without symbolic links.
	Project string `json:"project"`
	// Pool is the pool's name; see ValidPool.
	Pool string `json:"pool"`
	// Replica is the replica's name in its pool; see ValidReplica.
	Replica string `json:"replica"`
}

// Name is the name of the replica's container, unit or process. An engine gives a name only
// once, so its creator holds the replica.
func (id ID) Name() string {
	sum := sha256.Sum256([]byte(id.Project))
	return "llorch-" + id.Pool + "-" + id.Replica + "-" + hex.EncodeToString(sum[:4])
}

// StandbyName is the name of the server that will replace the one with Name. It too is given
// only once, so two replacements cannot run at the same time.
func (id ID) StandbyName() string { return id.Name() + "-next" }

// HandoffFile is the name of the replica's handoff in the project's folder. It is different
// for every valid pair of pool and replica.
func (id ID) HandoffFile() string {
	if id.Pool == DefaultPool && id.Replica == DefaultReplica {
		return "llamacpp.json"
	}
	return "llamacpp-" + id.Pool + "-" + id.Replica + ".json"
}

// ParseHandoffFile returns the pool and the replica in a handoff's file name.
func ParseHandoffFile(name string) (pool, replica string, ok bool) {
	if name == (ID{Pool: DefaultPool, Replica: DefaultReplica}).HandoffFile() {
		return DefaultPool, DefaultReplica, true
	}
	rest, begins := strings.CutPrefix(name, "llamacpp-")
	rest, ends := strings.CutSuffix(rest, ".json")
	dash := strings.LastIndexByte(rest, '-')
	if !begins || !ends || dash < 0 {
		return "", "", false
	}
	pool, replica = rest[:dash], rest[dash+1:]
	return pool, replica, poolID.MatchString(pool) && replicaID.MatchString(replica)
}

// String is the name for the user: the pool, and the replica unless it is the default one.
func (id ID) String() string {
	if id.Replica == DefaultReplica {
		return id.Pool
	}
	return id.Pool + "/" + id.Replica
}

var (
	poolID = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,62}$`)
	// A replica id has no dash, so the last dash in a file or container name separates pool
	// and replica.
	replicaID = regexp.MustCompile(`^[a-z0-9][a-z0-9_.]{0,62}$`)
)

// ValidPool checks that s can name a pool: 1 to 63 of a-z, 0-9, '_', '.' and '-', starting
// with a letter or digit. Upper case is refused because some file systems ignore case.
func ValidPool(s string) error {
	if poolID.MatchString(s) {
		return nil
	}
	return fault.New(fault.Usage, fmt.Sprintf("invalid pool name %q", s),
		errors.New("it must be 1 to 63 of a-z, 0-9, '_', '.' and '-', and start with a letter or digit"),
		"choose another `pool`")
}

// ValidReplica checks that s can name a replica: like a pool, but without '-'.
func ValidReplica(s string) error {
	if replicaID.MatchString(s) {
		return nil
	}
	return fault.New(fault.Usage, fmt.Sprintf("invalid replica name %q", s),
		errors.New("it must be 1 to 63 of a-z, 0-9, '_' and '.', and start with a letter or digit"),
		"choose another `replica`")
}
