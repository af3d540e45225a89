package engine

import (
	"errors"
	"fmt"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
)

// Ended is how a server's process ended. It is an error, since a server that ends
// while somebody waits for it has failed.
type Ended struct {
	// State is the server's after the end; zero where it was removed.
	State State
	// Err is why the end is not known better: ErrGone, or a broken connection to
	// the engine.
	Err error
}

// Error says how it ended, as a sentence.
func (e *Ended) Error() string { return "the server " + e.Cause() }

// Unwrap gives Err.
func (e *Ended) Unwrap() error { return e.Err }

// Signals by which servers die, as Linux numbers them on the machines that
// llama.cpp runs on.
const (
	sigILL  = 4
	sigABRT = 6
	sigBUS  = 7
	sigKILL = 9
	sigSEGV = 11
	sigTERM = 15
)

// Cause says how it ended, in words that follow "the server".
func (e *Ended) Cause() string {
	s := e.State
	switch {
	case errors.Is(e.Err, ErrGone):
		return "was removed"
	case e.Err != nil:
		return fmt.Sprintf("cannot be watched any more: %v", e.Err)
	case s.OOMKilled:
		return "was killed for lack of memory (OOM)"
	case s.Signal == sigILL:
		return "died of signal 4 (illegal instruction): this machine's CPU is older than the image was built for"
	case s.Signal == sigABRT:
		return "died of signal 6 (aborted)"
	case s.Signal == sigBUS:
		return "died of signal 7 (bus error): the model file changed or its disk failed"
	case s.Signal == sigKILL:
		return "died of signal 9 (killed): by somebody, or by the kernel for lack of memory"
	case s.Signal == sigSEGV:
		return "died of signal 11 (segmentation fault)"
	case s.Signal == sigTERM:
		return "died of signal 15: it was told to stop"
	case s.Signal != 0:
		return fmt.Sprintf("died of signal %d", s.Signal)
	case s.Error != "":
		return fmt.Sprintf("exited with code %d: %s", s.ExitCode, s.Error)
	case s.ExitCode == 126 || s.ExitCode == 127:
		return fmt.Sprintf("exited with code %d: its program could not be executed", s.ExitCode)
	}
	return fmt.Sprintf("exited with code %d", s.ExitCode)
}

// advice is what to do about it, by the cause that was seen; lines are the log's last.
func (e *Ended) advice(lines []string) string {
	s := e.State
	switch {
	case errors.Is(e.Err, ErrGone):
		return "find out who removed it: `llorch-bk stop` in another shell, or docker"
	case e.Err != nil:
		return "see whether the engine runs with `llorch-bk doctor`"
	case s.OOMKilled:
		return "give it more `memory`, or take a smaller model or context (`ctx`)"
	case s.Signal == sigILL:
		return "build an image for this machine with `cpu=portable`"
	case s.Signal == sigBUS:
		return "check the model with `llorch-bk model verify`"
	case s.Signal == sigKILL:
		return "see `dmesg` for the kernel's part; a smaller model or context (`ctx`) needs less memory"
	case s.Signal == sigTERM:
		return "find out who stopped it: `llorch-bk stop` in another shell, or docker"
	case s.Signal != 0:
		return "report it to llama.cpp with the lines above: a server must not crash"
	case s.ExitCode == 126 || s.ExitCode == 127:
		return "take an image that `llorch-bk build` made for this machine"
	case refusesFlag(lines):
		return "correct the flags for the server: this version does not take one of them"
	}
	return "the server's last lines say why it ended"
}

// refusesFlag says whether a server's last lines are about its own flags.
// llama.cpp's common/arg.cpp says "error: invalid argument: --x" of a flag that it
// does not know, and "error while handling argument" of a value.
func refusesFlag(lines []string) bool {
	for _, l := range lines {
		if strings.Contains(l, "invalid argument: ") || strings.Contains(l, "error while handling argument") {
			return true
		}
	}
	return false
}

// Explain is the end of a server that should have become ready, as an error for a
// person; lines are the last of its log.
func (e *Ended) Explain(lines []string) *fault.Fault {
	f := fault.New(fault.Engine, e.Error()+" before it was ready", nil, e.advice(lines)).WithLines(lines)
	if e.Err != nil && !errors.Is(e.Err, ErrGone) {
		f.What, f.Why = "the server cannot be watched any more", e.Err
	}
	return f
}
