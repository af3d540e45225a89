package handoff

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/llorch/llorch-bk/images/fault"
)

// The pool and replica that a user gets who names none.
const (
	DefaultPool    = "default"
	DefaultReplica = "r0"
)

var (
	poolID = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,62}$`)
	// A replica id has no dash, so that the last dash of a file's or a
	// container's name always stands between pool and replica.
	replicaID = regexp.MustCompile(`^[a-z0-9][a-z0-9_.]{0,62}$`)
)

// ValidID says whether s can name a pool: 1 to 63 of a-z, 0-9, '_', '.' and
// '-', the first a letter or digit. Upper case is out because some file systems
// do not tell it from lower case.
func ValidID(s string) error {
	if poolID.MatchString(s) {
		return nil
	}
	return fault.New(fault.Usage, fmt.Sprintf("%q cannot name a pool", s),
		errors.New("a pool's id is 1 to 63 of a-z, 0-9, '_', '.' and '-', and starts with a letter or digit"),
		"choose another --pool")
}

// ValidReplicaID is ValidID for a replica, which may have no '-'.
func ValidReplicaID(s string) error {
	if replicaID.MatchString(s) {
		return nil
	}
	return fault.New(fault.Usage, fmt.Sprintf("%q cannot name a replica", s),
		errors.New("a replica's id is 1 to 63 of a-z, 0-9, '_' and '.', and starts with a letter or digit"),
		"choose another --replica")
}

// FileName is the name of a replica's handoff in its folder. No two valid pairs
// of ids share one.
func FileName(pool, replica string) string {
	if pool == DefaultPool && replica == DefaultReplica {
		return "llamacpp.json"
	}
	return "llamacpp-" + pool + "-" + replica + ".json"
}
