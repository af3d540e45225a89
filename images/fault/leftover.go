package fault

import "errors"

// Leftover is something that was made on the way to a failure and could not be
// cleaned up. It is said whatever else is said, also after Ctrl-C.
type Leftover struct {
	// What is left, as a sentence: "the container X is left behind".
	What string
	// Why it could not be removed.
	Why error
	// Do is what a person can do about it, best a command to copy.
	Do string
}

// Error says what is left, why, and how to remove it.
func (l *Leftover) Error() string {
	return l.What + " (" + l.Do + "): " + l.Why.Error()
}

// Unwrap gives the cause.
func (l *Leftover) Unwrap() error { return l.Why }

// Leftovers are all that an error says is left behind; nil where nothing is.
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
