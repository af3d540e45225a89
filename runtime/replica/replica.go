// Package replica names what runs: the project, its pools, and their replicas.
// Names of containers, files and locks follow from these alone. It is pure.
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

// The pool and replica that a user gets who names none.
const (
	DefaultPool    = "default"
	DefaultReplica = "r0"
)

// ID names one replica of a pool of a project. Together with an engine's own id
// it is the identity of a server.
type ID struct {
	// Project is the absolute path of the handoff folder, without symbolic links.
	Project string `json:"project"`
	// Pool is the pool's name; see ValidPool.
	Pool string `json:"pool"`
	// Replica is the replica's name in its pool; see ValidReplica.
	Replica string `json:"replica"`
}

// Name is the name of the replica's container, unit or process. An engine gives a
// name only once, so whoever creates it holds the replica.
func (id ID) Name() string {
	sum := sha256.Sum256([]byte(id.Project))
	return "llorch-" + id.Pool + "-" + id.Replica + "-" + hex.EncodeToString(sum[:4])
}

// StandbyName is the name of the server that is started to replace the one that has
// Name. It is also given only once, so two replacements cannot run at a time.
func (id ID) StandbyName() string { return id.Name() + "-next" }

// HandoffFile is the name of the replica's handoff in the project's folder. No two
// valid pairs of pool and replica share one.
func (id ID) HandoffFile() string {
	if id.Pool == DefaultPool && id.Replica == DefaultReplica {
		return "llamacpp.json"
	}
	return "llamacpp-" + id.Pool + "-" + id.Replica + ".json"
}

// ParseHandoffFile gives pool and replica of a handoff's file name.
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

// String is how a person names the replica: its pool, and the replica unless it
// is the default one.
func (id ID) String() string {
	if id.Replica == DefaultReplica {
		return id.Pool
	}
	return id.Pool + "/" + id.Replica
}

var (
	poolID = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,62}$`)
	// A replica id has no dash, so that the last dash of a file's or a
	// container's name always stands between pool and replica.
	replicaID = regexp.MustCompile(`^[a-z0-9][a-z0-9_.]{0,62}$`)
)

// ValidPool says whether s can name a pool: 1 to 63 of a-z, 0-9, '_', '.' and '-',
// the first a letter or digit. Upper case is refused because some file systems do
// not tell it from lower case.
func ValidPool(s string) error {
	if poolID.MatchString(s) {
		return nil
	}
	return fault.New(fault.Usage, fmt.Sprintf("%q cannot name a pool", s),
		errors.New("a pool's id is 1 to 63 of a-z, 0-9, '_', '.' and '-', and starts with a letter or digit"),
		"choose another `pool`")
}

// ValidReplica is ValidPool for a replica, which may have no '-'.
func ValidReplica(s string) error {
	if replicaID.MatchString(s) {
		return nil
	}
	return fault.New(fault.Usage, fmt.Sprintf("%q cannot name a replica", s),
		errors.New("a replica's id is 1 to 63 of a-z, 0-9, '_' and '.', and starts with a letter or digit"),
		"choose another `replica`")
}
