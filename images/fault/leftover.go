package fault

import "errors"

// Leftover is something that was created before a failure and could not be removed. It is
// always reported, also after Ctrl-C.
type Leftover struct {
	// What was left behind, as a sentence: "the container X is left behind".
	What string
	// Why it could not be removed.
	Why error
	// Do is what a person can do about it, preferably a command to copy.
	Do string
}

// Error says what was left behind, how to remove it, and why it is still there.
func (l *Leftover) Error() string {
	return l.What + " (" + l.Do + "): " + l.Why.Error()
}

// Unwrap returns the cause.
func (l *Leftover) Unwrap() error { return l.Why }

// Leftovers joins every Leftover in an error's tree; nil if there is none.
func Leftovers(err error) error {
	var all []error
	var walk func(error)
	walk = func(err error) {
		switch e := err.(type) { //nolint:errorlint // the walk is over the chain itself
		case *Leftover:
			all = append(all, e)
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				walk(inner)
			}
		case interface{ Unwrap() error }:
			walk(e.Unwrap())
		}
	}
	walk(err)
	return errors.Join(all...)
}
