// Package fault has the error type for every error that a user sees: what failed, why,
// and what to do about it. The class decides only the command line's exit code. Callers
// that distinguish causes use the wrapped error.
package fault

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Class is the kind of a failure. Its values are the documented exit codes of the
// command line.
type Class int

// The classes, by exit code. A released code never changes its meaning.
const (
	// Unexpected is a failure that nobody foresaw, most likely a bug.
	Unexpected Class = 1
	// Usage is a request that cannot be carried out as given; nothing was started.
	Usage Class = 2
	// Machine is a failure because this machine lacks something.
	Machine Class = 3
	// Build is a failed image build.
	Build Class = 4
	// Model is a model that could not be fetched or verified.
	Model Class = 5
	// Engine is a server that could not be started, or that ended before it was ready.
	Engine Class = 6
	// NotReady is a server that runs but was not ready in time.
	NotReady Class = 7
	// Interrupted is the user's request to stop, after clean-up.
	Interrupted Class = 130
)

// Fault is an error in three parts. What and Do are sentences without a final full stop.
type Fault struct {
	Class Class
	// What failed, in terms of what the user asked for.
	What string
	// Why it failed; nil if What says everything.
	Why error
	// Do is what the user can do about it, preferably with a command to copy.
	Do string
	// Lines are the last lines of the failed process's log, oldest first.
	Lines []string
}

// New returns a Fault.
func New(class Class, what string, why error, do string) *Fault {
	return &Fault{Class: class, What: what, Why: why, Do: do}
}

// WithLines returns f with the last lines of a log attached.
func (f *Fault) WithLines(lines []string) *Fault {
	f.Lines = lines
	return f
}

// Error is the failure and its cause in one line; Do and Lines are for Report.
func (f *Fault) Error() string {
	if f.Why == nil {
		return f.What
	}
	return fmt.Sprintf("%s: %v", f.What, f.Why)
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Why }

// ClassOf is the class of the outermost Fault in err's chain, and Unexpected if there
// is none.
func ClassOf(err error) Class {
	var f *Fault
	if errors.As(err, &f) {
		return f.Class
	}
	return Unexpected
}

// setting matches the name of a setting in an error: in backquotes, alone or with a
// value, such as `listen` or `cpu=portable`.
var setting = regexp.MustCompile("`([a-z][a-z-]*)(?:=([^`\\s]*))?`")

// Name replaces the names of settings in a text by what the user calls them. A setting
// stands in backquotes: `listen`, or with a value, `cpu=portable`. The function name
// returns the user's name for it, and "" for a word that is not a setting and stays.
func Name(text string, name func(setting, value string) string) string {
	return setting.ReplaceAllStringFunc(text, func(word string) string {
		m := setting.FindStringSubmatch(word)
		if known := name(m[1], m[2]); known != "" {
			return known
		}
		return word
	})
}

// Report is the text for a terminal: what failed and why, the last log lines if there
// are any, and what to do. Lines of what and why after the first are indented, so that
// one failure is visible as one. Settings keep the names that they have in the error;
// see Name.
func Report(err error) string {
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(strings.TrimRight(err.Error(), "\n"), "\n", "\n  ") + "\n")
	var f *Fault
	// The innermost advice and log are nearest to the cause, so they are shown.
	var lines []string
	var do string
	for e := err; errors.As(e, &f); e = f.Why {
		if len(f.Lines) > 0 {
			lines = f.Lines
		}
		if f.Do != "" {
			do = f.Do
		}
		if f.Why == nil {
			break
		}
	}
	for _, l := range lines {
		fmt.Fprintf(&b, "  | %s\n", l)
	}
	if do != "" {
		fmt.Fprintf(&b, "what to do: %s\n", do)
	}
	return b.String()
}
