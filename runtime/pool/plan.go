package pool

import (
	"time"

	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/replica"
)

// Verb is what an operation does.
type Verb string

// The verbs, as printed in a plan.
const (
	// Build builds the image. It is only printed; up builds before it plans the rest.
	Build Verb = "build"
	// Fetch downloads the model. It is only printed, like Build.
	Fetch Verb = "fetch"
	// Probe lists the GPUs that the server finds, before a model is loaded. It fails with
	// NoGPU.
	Probe Verb = "check the GPU of"
	// Try loads a downloaded model alone in a container, before a server serves it.
	Try Verb = "try"
	// Prepare checks and does everything that is possible beside a running server.
	Prepare Verb = "prepare"
	// Create creates a server without starting it: the claim on the replica.
	Create Verb = "create"
	// Confirm checks, after the replica is claimed, that the observed state still holds. It
	// fails with ErrAgain.
	Confirm Verb = "confirm"
	// Start starts a created or stopped server.
	Start Verb = "start"
	// Wait waits until a server is healthy. It fails with Ended.
	Wait Verb = "wait for"
	// Prove reads the proof that the GPU is used from the server's log. It fails with NoGPU.
	Prove Verb = "prove the GPU of"
	// Publish writes the handoff.
	Publish Verb = "write"
	// Withdraw removes the handoff, if it still describes the same server.
	Withdraw Verb = "remove handoff"
	// Stop stops a server so that it can be started again.
	Stop Verb = "stop"
	// Remove stops a server and frees its name.
	Remove Verb = "remove"
	// Promote renames a standby to the replica's name.
	Promote Verb = "rename"
	// Await waits until another process has started or given up a server; then observe and
	// plan again.
	Await Verb = "wait until another process starts"
	// Delete removes something that nothing uses; see Op.Leftover.
	Delete Verb = "delete"
)

// Cause is a reason for a failure that a plan can react to. A Doer adds it to an error with
// Because.
type Cause string

// The causes.
const (
	// NoGPU: the engine cannot give a GPU, or the server does not find or use it.
	NoGPU Cause = "the GPU cannot be used"
	// Ended: the server ended during the wait.
	Ended Cause = "the server ended"
)

// Error is the cause as text.
func (c Cause) Error() string { return string(c) }

// Op is one operation of a plan.
type Op struct {
	Do Verb `json:"do"`
	// On is the object: a container, an image, a file.
	On string `json:"on"`
	// Why is the operation's cause.
	Why string `json:"why"`
	// Replica is the replica whose server or handoff changes.
	Replica replica.ID `json:"-"`
	// Server is an observed server; nil for the server that the plan itself creates.
	Server *engine.Server `json:"-"`
	// Spec is the Spec to prepare, probe or prove.
	Spec *engine.Spec `json:"-"`
	// Standby creates the server beside the replica's own.
	Standby bool `json:"standby,omitempty"`
	// Handoff is the file to withdraw. It is kept if it describes another server by then.
	Handoff *Handoff `json:"-"`
	// Leftover is the object to delete.
	Leftover *Leftover `json:"-"`
	// Grace is how long the server may take to end; 0 leaves it to the Doer.
	Grace time.Duration `json:"-"`
	// Undo is carried out if a later operation fails. Undo operations run in reverse order of
	// the plan.
	Undo []Op `json:"undo,omitempty"`
	// Instead replaces this operation and all later ones if this one fails with a given cause.
	// The plan then goes on.
	Instead *Branch `json:"instead,omitempty"`
	// Clean is carried out if this operation fails with a given cause. The plan then ends.
	Clean *Branch `json:"clean,omitempty"`
	// Alone is an operation that no other one needs. If it fails, the plan goes on, and
	// its error is returned at the end.
	Alone bool `json:"alone,omitempty"`
	// Final ends the undoing: operations before it are not undone any more.
	Final bool `json:"final,omitempty"`
}

// Branch is the reaction to one cause.
type Branch struct {
	When Cause `json:"when"`
	Ops  []Op  `json:"ops"`
}

// Plan is a list of operations, in order.
type Plan struct {
	// Title says what the plan is about.
	Title string `json:"title"`
	// Ops are the operations; none if nothing has to change.
	Ops []Op `json:"ops"`
	// Notes say what is kept, and why.
	Notes []string `json:"notes,omitempty"`
	// Refused says why nothing is done at all; nil otherwise.
	Refused error `json:"-"`
	// Stopped are the replicas that the plan stops.
	Stopped []replica.ID `json:"-"`
}

// Starts reports whether the plan creates a server.
func (p Plan) Starts() bool {
	for _, op := range p.Ops {
		if op.Do == Create {
			return true
		}
	}
	return false
}
