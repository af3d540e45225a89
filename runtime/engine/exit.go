package engine

import (
	"errors"
	"fmt"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
)

// Ended says how a server's process ended. It is an error, since a server that ends while
// somebody waits for it has failed.
type Ended struct {
	// State is the server's state after the end; zero if it was removed.
	State State
	// Err says why the end is not known better: ErrGone, or a lost connection to the engine.
	Err error
}

// Error describes the end as a sentence.
func (e *Ended) Error() string { return "the server " + e.Cause() }

// Unwrap gives Err.
func (e *Ended) Unwrap() error { return e.Err }

// Signals that end servers, by their numbers on Linux on the architectures of llama.cpp.
const (
	sigILL  = 4
	sigABRT = 6
	sigBUS  = 7
	sigKILL = 9
	sigSEGV = 11
	sigTERM = 15
)

// Cause describes the end in words that follow "the server".
func (e *Ended) Cause() string {
	s := e.State
	switch {
	case errors.Is(e.Err, ErrGone):
		return "was removed"
	case e.Err != nil:
		return fmt.Sprintf("can no longer be watched: %v", e.Err)
	case s.OOMKilled:
		return "was killed because memory ran out (OOM)"
	case s.Signal == sigILL:
		return "died of signal 4 (illegal instruction): this machine's CPU is older than the image was built for"
	case s.Signal == sigABRT:
		return "died of signal 6 (aborted)"
	case s.Signal == sigBUS:
		return "died of signal 7 (bus error): the model file changed or its disk failed"
	case s.Signal == sigKILL:
		return "died of signal 9 (killed): a user or another program killed it, or the kernel did because memory ran out"
	case s.Signal == sigSEGV:
		return "died of signal 11 (segmentation fault)"
	case s.Signal == sigTERM:
		return "died of signal 15 (terminated): it was asked to stop"
	case s.Signal != 0:
		return fmt.Sprintf("died of signal %d", s.Signal)
	case s.Error != "":
		return fmt.Sprintf("exited with code %d: %s", s.ExitCode, s.Error)
	case s.ExitCode == 126 || s.ExitCode == 127:
		return fmt.Sprintf("exited with code %d: its program cannot be executed", s.ExitCode)
	}
	return fmt.Sprintf("exited with code %d", s.ExitCode)
}

// advice is what to do about the end, by its cause; lines are the last lines of the log.
func (e *Ended) advice(lines []string) string {
	s := e.State
	switch {
	case errors.Is(e.Err, ErrGone):
		return "find out who removed it: `llorch-bk stop` in another shell, or docker"
	case e.Err != nil:
		return "check the engine with `llorch-bk doctor`"
	case s.OOMKilled:
		return "raise `memory`, or use a smaller model or context (`ctx`)"
	case s.Signal == sigILL:
		return "build an image for this machine with `cpu=portable`"
	case s.Signal == sigBUS:
		return "check the model with `llorch-bk model verify`"
	case s.Signal == sigKILL:
		return "`dmesg` shows whether the kernel killed it; if so, use a smaller model or context (`ctx`)"
	case s.Signal == sigTERM:
		return "find out who stopped it: `llorch-bk stop` in another shell, or docker"
	case s.Signal != 0:
		return "report the crash to llama.cpp, with the lines above"
	case s.ExitCode == 126 || s.ExitCode == 127:
		return "use an image that `llorch-bk build` built for this machine"
	case refusesFlag(lines):
		return "correct the server's flags: this version refuses one of them"
	}
	return "the server's last lines say why it ended"
}

// refusesFlag reports whether a server's last lines are about its flags. llama.cpp's
// common/arg.cpp prints "error: invalid argument: --x" for an unknown flag, and "error while
// handling argument" for a bad value.
func refusesFlag(lines []string) bool {
	for _, l := range lines {
		if strings.Contains(l, "invalid argument: ") || strings.Contains(l, "error while handling argument") {
			return true
		}
	}
	return false
}

// Explain returns a fault for a server that ended before it was ready; lines are the last
// lines of its log.
func (e *Ended) Explain(lines []string) *fault.Fault {
	f := fault.New(fault.Engine, e.Error()+" before it was ready", nil, e.advice(lines)).WithLines(lines)
	if e.Err != nil && !errors.Is(e.Err, ErrGone) {
		f.What, f.Why = "the server can no longer be watched", e.Err
	}
	return f
}
