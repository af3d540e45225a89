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
	// Do carries out one operation. Create, Start and Promote return the resulting server,
	// all others the zero value. Because adds the Cause to an error.
	Do(ctx context.Context, op Op) (engine.Server, error)
	// Turn is called when an operation failed and its Instead is carried out.
	Turn(op Op, err error)
}

// ErrAgain ends an execution because another process changed the observed state: observe and
// plan again.
var ErrAgain = errors.New("the servers have changed since the plan was made")

// Because adds a cause to an error without changing its text.
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

// undoPatience bounds the undo operations after the user interrupted the command.
const undoPatience = 30 * time.Second

// Execute carries out a plan. It decides nothing: the plan says how to react to a failure.
// What could not be undone is in the error as fault.Leftovers. Execute returns the server
// that the plan created, if it created one.
func (p Plan) Execute(ctx context.Context, d Doer) (engine.Server, error) {
	if p.Refused != nil {
		return engine.Server{}, p.Refused
	}
	e := execution{d: d}
	err := e.run(ctx, p.Ops)
	return e.server, err
}

// execution is the state of one Execute.
type execution struct {
	d Doer
	// server is the server that Create, Start or Promote returned last.
	server engine.Server
	// undo are the undo operations of everything done so far, in that order.
	undo [][]Op
}

func (e *execution) run(ctx context.Context, ops []Op) error {
	var alone []error
	for _, op := range ops {
		err := e.do(ctx, op)
		if err == nil {
			continue
		}
		if op.Alone && ctx.Err() == nil {
			alone = append(alone, fmt.Errorf("%s: %w", op.On, err))
			continue
		}
		return errors.Join(append(alone, e.failed(ctx, op, err))...)
	}
	return errors.Join(alone...)
}

// failed does what the plan says about an operation that failed: something in its
// place, or back to where it began.
func (e *execution) failed(ctx context.Context, op Op, err error) error {
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

// do carries out one operation, on the plan's own server unless the operation names one.
func (e *execution) do(ctx context.Context, op Op) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	made := op.Server == nil
	op = e.bind(op)
	got, err := e.d.Do(ctx, op)
	if op.Do == Create || op.Do == Promote || op.Do == Start && made {
		// A failed Start may also have created the server again, on another port.
		if got.ID != "" && op.Server != nil {
			follow(e.undo, op.Server.ID, got)
		}
		// An error without a server keeps the known one.
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

// bind adds the plan's own server to an operation that names none.
func (e *execution) bind(op Op) Op {
	if op.Server == nil && e.server.ID != "" {
		server := e.server
		op.Server = &server
	}
	return op
}

// goBack undoes everything in reverse order, and reports what could not be undone. It goes on
// for a limited time after ctx has ended.
func (e *execution) goBack(ctx context.Context, first []Op) error {
	undoing, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(undoPatience, func() {
			cancel(fmt.Errorf("it took longer than %v after the interruption", undoPatience))
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
				continue // publish a handoff only for a server that is ready again
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

// left describes what a failed undo operation leaves.
func left(op Op, err error) error {
	switch op.Do {
	case Remove:
		return &fault.Leftover{What: op.On + " was not removed", Why: err, Do: "llorch-bk stop " + op.Replica.Pool}
	case Start, Wait, Prove:
		return &fault.Leftover{What: "the old server, " + op.On + ", is not ready again", Why: err, Do: "llorch-bk ps shows its state"}
	}
	return &fault.Leftover{What: string(op.Do) + " " + op.On + " failed", Why: err, Do: "llorch-bk ps repairs it"}
}

// follow replaces a server in the remaining operations with its new state.
func follow(groups [][]Op, id string, now engine.Server) {
	for _, ops := range groups {
		for i := range ops {
			if ops[i].Server != nil && ops[i].Server.ID == id {
				ops[i].Server = &now
			}
		}
	}
}
