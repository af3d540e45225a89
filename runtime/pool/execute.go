package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

// Doer carries out single operations.
type Doer interface {
	// Do carries out one operation. It returns the server that came of it for
	// Create, Start and Promote, and the zero value for all others. An error says
	// its Cause by Because.
	Do(ctx context.Context, op Op) (engine.Server, error)
	// Turn is told when an operation failed and its Instead is carried out.
	Turn(op Op, err error)
}

// ErrAgain ends an execution after somebody else changed what the plan was made
// for: everything is to be looked at again.
var ErrAgain = errors.New("the servers have changed since the plan was made")

// Because adds a cause to an error without a change of its text.
func Because(err error, cause Cause) error {
	if err == nil {
		return nil
	}
	return &because{error: err, cause: cause}
}

type because struct {
	error
	cause Cause
}

// Unwrap gives the error and its cause.
func (b *because) Unwrap() []error { return []error{b.error, b.cause} }

// undoPatience is how long what must be undone may take once the user wants to stop.
const undoPatience = 30 * time.Second

// Execute carries out a plan. It decides nothing: what is done about a failure is
// part of the plan. What could not be undone comes back as fault.Leftovers of the
// error. It returns the server that the plan ends with, if it made one.
func (p Plan) Execute(ctx context.Context, d Doer) (engine.Server, error) {
	if p.Refused != nil {
		return engine.Server{}, p.Refused
	}
	e := execution{d: d}
	err := e.run(ctx, p.Ops)
	return e.server, err
}

// execution is the state of one execution.
type execution struct {
	d Doer
	// server is what Create, Start or Promote made last.
	server engine.Server
	// undo is what would undo what was done so far, in the order in which it was done.
	undo [][]Op
}

func (e *execution) run(ctx context.Context, ops []Op) error {
	for _, op := range ops {
		err := e.do(ctx, op)
		if err == nil {
			continue
		}
		if op.Instead != nil && errors.Is(err, op.Instead.When) && ctx.Err() == nil {
			e.d.Turn(op, err)
			return e.run(ctx, op.Instead.Ops)
		}
		var clean []Op
		if op.Clean != nil && errors.Is(err, op.Clean.When) && ctx.Err() == nil {
			clean = op.Clean.Ops
		}
		return errors.Join(err, e.goBack(ctx, clean))
	}
	return nil
}

// do carries out one operation, on the server that the plan made unless it names one.
func (e *execution) do(ctx context.Context, op Op) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	made := op.Server == nil
	op = e.bind(op)
	got, err := e.d.Do(ctx, op)
	if op.Do == Create || op.Do == Promote || op.Do == Start && made {
		// Also one that did not start may have been made again, on another port.
		if got.ID != "" && op.Server != nil {
			follow(e.undo, op.Server.ID, got)
		}
		// An error that tells of no server leaves the one that is known.
		if got.ID != "" || err == nil {
			e.server = got
		}
	}
	if err != nil {
		return err
	}
	if op.Final {
		e.undo = nil
	}
	if len(op.Undo) > 0 {
		bound := make([]Op, len(op.Undo))
		for i, u := range op.Undo {
			bound[i] = e.bind(u)
		}
		e.undo = append(e.undo, bound)
	}
	return nil
}

// bind names the server that an operation is about.
func (e *execution) bind(op Op) Op {
	if op.Server == nil && e.server.ID != "" {
		server := e.server
		op.Server = &server
	}
	return op
}

// goBack undoes what was done, the last first, and reports what could not be. It
// is seen through after ctx has ended, though not for ever.
func (e *execution) goBack(ctx context.Context, first []Op) error {
	undoing, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(undoPatience, func() {
			cancel(fmt.Errorf("it was given %v after the interruption", undoPatience))
		})
	})
	defer stop()
	groups := e.undo
	e.undo = nil
	if len(first) > 0 {
		groups = append(groups, first)
	}
	var errs []error
	unwell := false
	for i := len(groups) - 1; i >= 0; i-- {
		for _, op := range groups[i] {
			if unwell && op.Do != Remove {
				continue // a handoff is only of a server that is well again
			}
			got, err := e.d.Do(undoing, op)
			if op.Do == Start && err == nil {
				follow(groups[:i+1], got.ID, got)
			}
			if err != nil {
				unwell = unwell || op.Do == Start || op.Do == Wait || op.Do == Prove
				errs = append(errs, left(op, err))
			}
		}
	}
	return errors.Join(errs...)
}

// left says what an undoing that failed has left.
func left(op Op, err error) error {
	switch op.Do {
	case Remove:
		return &fault.Leftover{What: op.On + " is left behind", Why: err, Do: "llorch-bk stop " + op.Replica.Pool}
	case Start, Wait, Prove:
		return &fault.Leftover{What: "the server that ran before, " + op.On + ", is not ready again", Why: err, Do: "llorch-bk ps shows its state"}
	}
	return &fault.Leftover{What: string(op.Do) + " " + op.On + " failed", Why: err, Do: "llorch-bk ps sets it right"}
}

// follow names what has become of a server in what is still to be done with it.
func follow(groups [][]Op, id string, now engine.Server) {
	for _, ops := range groups {
		for i := range ops {
			if ops[i].Server != nil && ops[i].Server.ID == id {
				ops[i].Server = &now
			}
		}
	}
}
