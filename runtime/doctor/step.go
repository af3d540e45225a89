package doctor

import (
	"strings"
)

// Step is one thing that mends the machine.
type Step struct {
	// ID names the step for programs; it is stable.
	ID string
	// What the step does, and Why it is needed: sentences without a full stop.
	What, Why string
	// Commands do it by hand: exact, in order, ready to copy.
	Commands []string
	// NeedsRoot says that it needs root's rights.
	NeedsRoot bool
	// Optional says that building and running work without it, for a CPU.
	Optional bool

	action action
}

// Manual says that the step is for a person: Apply cannot do it.
func (s Step) Manual() bool { return s.action == nil }

// text is the step's commands, or what it says where it has none.
func (s Step) text() string {
	if len(s.Commands) == 0 {
		return "  (" + s.What + ")"
	}
	return "  " + strings.Join(s.Commands, "\n  ")
}

// action is what Apply carries out. Actions are data: that a plan can be
// compared and printed is what keeps decisions out of Apply.
type action interface{ isAction() }

// installPackages refreshes the package lists and installs.
type installPackages struct{ update, install []string }

// runAndWait runs a command and waits until the engine answers.
type runAndWait struct {
	argv []string
	// journal shows the log of a service that did not start.
	journal []string
}

// waitForEngine waits for one that is starting already.
type waitForEngine struct{ pid int }

// startEngine starts dockerd in the background.
type startEngine struct{ dockerd, log string }

// changeConfig merges into daemon.json and has the engine read it.
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

// shellLine is argv as a POSIX shell takes it.
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
