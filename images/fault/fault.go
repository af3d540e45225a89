// Package fault is the one shape that every error meant for a person has:
// what failed, why, and what to do about it. The class decides the exit code
// of the command line and nothing else; callers that need to tell two causes
// apart use the wrapped error.
package fault

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Class says whose concern a failure is. Its values are the documented exit
// codes of the command line.
type Class int

// The classes, by exit code. A released code never changes its meaning.
const (
	// Unexpected is a failure that nobody foresaw: most likely a bug.
	Unexpected Class = 1
	// Usage is a request that cannot be carried out as it stands; nothing was started.
	Usage Class = 2
	// Machine is something that this machine lacks.
	Machine Class = 3
	// Build is a failed image build.
	Build Class = 4
	// Model is a model that could not be had or verified.
	Model Class = 5
	// Engine is a server that could not be started, or that died before it was ready.
	Engine Class = 6
	// NotReady is a server that runs but was not ready in time.
	NotReady Class = 7
	// Interrupted is the user's own wish to stop, after clean-up.
	Interrupted Class = 130
)

// Fault is an error in three parts. Build one with New; What and Do are
// sentences without a final full stop.
type Fault struct {
	Class Class
	// What failed, in terms of what the user asked for.
	What string
	// Why it failed; nil where What says it all.
	Why error
	// Do is what the user can do about it, best with a command to copy.
	Do string
	// Lines are the last lines of a log that died with the failure, oldest first.
	Lines []string
}

// New returns a Fault. A why that is itself a Fault of the same class is kept whole.
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

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Why }

// ClassOf is the class of the outermost Fault in err's chain, and Unexpected
// for an error that has none.
func ClassOf(err error) Class {
	var f *Fault
	if errors.As(err, &f) {
		return f.Class
	}
	return Unexpected
}

// setting is how an error names something that the user can set: in backquotes,
// alone or with a value, as in `listen` or `cpu=portable`.
var setting = regexp.MustCompile("`([a-z][a-z-]*)(?:=([^`\\s]*))?`")

// Name puts the names of settings in a text into the words of those who gave them.
// A setting stands in backquotes, as `listen`, or with a value, as `cpu=portable`.
// name says what the user calls it, "" for a word that is no setting and stays.
func Name(text string, name func(setting, value string) string) string {
	return setting.ReplaceAllStringFunc(text, func(word string) string {
		m := setting.FindStringSubmatch(word)
		if known := name(m[1], m[2]); known != "" {
			return known
		}
		return word
	})
}

// Report is the text for a terminal: what and why, the last log lines where
// there are any, and what to do. Only the first line of what and why is not
// indented, so that one failure looks like one. Settings are named as they are in
// the error; see Name.
func Report(err error) string {
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(strings.TrimRight(err.Error(), "\n"), "\n", "\n  ") + "\n")
	var f *Fault
	// The innermost advice and log are nearest to the cause, so they win.
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
