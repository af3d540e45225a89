package doctor

import (
	"strings"
)

// Step is one thing that fixes the machine.
type Step struct {
	// ID names the step for programs; it never changes.
	ID string
	// What the step does, and Why it is needed: sentences without a full stop.
	What, Why string
	// Commands carry out the step by hand: exact, in order, ready to copy.
	Commands []string
	// NeedsRoot is true if the commands need root.
	NeedsRoot bool
	// Optional is true if building and running on the CPU work without the step.
	Optional bool

	action action
}

// Manual reports whether only the user can do the step.
func (s Step) Manual() bool { return s.action == nil }

// text is the step's commands, or its description if it has none.
func (s Step) text() string {
	if len(s.Commands) == 0 {
		return "  (" + s.What + ")"
	}
	return "  " + strings.Join(s.Commands, "\n  ")
}

// action is what Apply carries out. Actions are data, so that a plan can be compared and
// printed and Apply decides nothing.
type action interface{ isAction() }

// installPackages refreshes the package lists and installs.
type installPackages struct{ update, install []string }

// runAndWait runs a command and waits until the engine answers.
type runAndWait struct {
	argv []string
	// journal prints the log of a service that did not start.
	journal []string
}

// waitForEngine waits for an engine that is already starting.
type waitForEngine struct{ pid int }

// startEngine starts dockerd in the background.
type startEngine struct{ dockerd, log string }

// changeConfig merges changes into daemon.json and makes the engine reload it.
type changeConfig struct {
	path    string
	changes map[string]any
	reload  []string
}

func (installPackages) isAction() {}
func (runAndWait) isAction()      {}
func (waitForEngine) isAction()   {}
func (startEngine) isAction()     {}
func (changeConfig) isAction()    {}

// shellLine formats argv for a POSIX shell.
func shellLine(argv []string) string {
	words := make([]string, len(argv))
	for i, a := range argv {
		words[i] = quote(a)
	}
	return strings.Join(words, " ")
}

func quote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:=+,@%", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
