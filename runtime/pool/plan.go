package pool

import (
	"time"

	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/replica"
)

// Verb is what an operation does.
type Verb string

// The verbs, as a plan's text has them.
const (
	// Build makes the image. It is planned only; up does it before it plans the rest.
	Build Verb = "build"
	// Fetch gets the model. It is planned only, as Build is.
	Fetch Verb = "fetch"
	// Probe asks the server which GPUs it sees, before a model is loaded. It fails
	// with NoGPU.
	Probe Verb = "check the GPU of"
	// Prepare checks and does all that can be done beside a running server.
	Prepare Verb = "prepare"
	// Create makes a server without starting it: the claim on the replica.
	Create Verb = "create"
	// Confirm makes sure, once the replica is claimed, that what was seen before is
	// still so. It fails with ErrAgain.
	Confirm Verb = "confirm"
	// Start starts what was created, or starts a stopped server again.
	Start Verb = "start"
	// Wait waits until a server is healthy. It fails with Ended.
	Wait Verb = "wait for"
	// Prove finds the proof that the GPU is used in the server's own lines. It fails
	// with NoGPU.
	Prove Verb = "prove the GPU of"
	// Publish writes the handoff.
	Publish Verb = "write"
	// Withdraw removes the handoff, if it still tells of the server that it told of.
	Withdraw Verb = "remove handoff"
	// Stop ends a server in a way that it can be started again.
	Stop Verb = "stop"
	// Remove ends a server and gives up its name.
	Remove Verb = "remove"
	// Promote gives a standby the replica's name.
	Promote Verb = "rename"
	// Await waits until somebody else has started or given up a server; then
	// everything is looked at again.
	Await Verb = "wait until somebody else starts"
)

// Cause is why an operation failed, as far as a plan has an answer to it. It is an
// error, which a Doer adds to what it returns; see Because.
type Cause string

// The causes.
const (
	// NoGPU is a GPU that cannot be given, is not seen, or is not used.
	NoGPU Cause = "the GPU cannot be used"
	// Ended is a server that ended while it was waited for.
	Ended Cause = "the server ended"
)

// Error is the cause in words.
func (c Cause) Error() string { return string(c) }

// Op is one operation of a plan.
type Op struct {
	Do Verb `json:"do"`
	// On is what it is done to, in words: a container, an image, a file.
	On string `json:"on"`
	// Why is its cause.
	Why string `json:"why"`
	// Replica is whose server or handoff it is about.
	Replica replica.ID `json:"-"`
	// Server is the server that was seen; nil for the one that the plan itself made.
	Server *engine.Server `json:"-"`
	// Spec is what is prepared, probed or proven.
	Spec *engine.Spec `json:"-"`
	// Standby creates beside the replica's own server.
	Standby bool `json:"standby,omitempty"`
	// Handoff is the file that is withdrawn; it stays where it has come to tell of
	// another server.
	Handoff *Handoff `json:"-"`
	// Grace is how long the server may take to end by itself; 0 leaves it to the Doer.
	Grace time.Duration `json:"-"`
	// Undo is done, in the order of the plan reversed, where a later operation
	// fails.
	Undo []Op `json:"undo,omitempty"`
	// Instead is done in place of this operation and all that follow it, where this
	// one fails of a cause. The plan then goes on.
	Instead *Branch `json:"instead,omitempty"`
	// Clean is done where this operation fails of a cause. The plan then ends.
	Clean *Branch `json:"clean,omitempty"`
	// Final is an operation after which nothing before it is undone any more.
	Final bool `json:"final,omitempty"`
}

// Branch is what is done for one cause.
type Branch struct {
	When Cause `json:"when"`
	Ops  []Op  `json:"ops"`
}

// Plan is what will be done, in order.
type Plan struct {
	// Title says what it is about.
	Title string `json:"title"`
	// Ops are the operations; none where all is as it should be.
	Ops []Op `json:"ops"`
	// Notes say what is left alone, and why.
	Notes []string `json:"notes,omitempty"`
	// Refused is why nothing is done at all; nil where something can be.
	Refused error `json:"-"`
	// Stopped are the replicas that the plan ends.
	Stopped []replica.ID `json:"-"`
}

// Starts says whether the plan starts a server that was not there, unless it is
// refused.
func (p Plan) Starts() bool {
	for _, op := range p.Ops {
		if op.Do == Create {
			return true
		}
	}
	return false
}
