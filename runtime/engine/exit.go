package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/llorch/llorch-bk/images/fault"
)

// Exit is how a container's process ended.
type Exit struct {
	// State is the container's after the end; zero where it was removed.
	State State
	// Err is why the end is not known better: ErrGone, or a broken connection to
	// the engine.
	Err error
}

// Exited yields the exit of the container's process, at once where it does not
// run, and then closes. It closes without one when ctx ends.
func (i *Instance) Exited(ctx context.Context) <-chan Exit {
	out := make(chan Exit, 1)
	go func() {
		defer close(out)
		done, failed := i.d.api.ContainerWait(ctx, i.ID, container.WaitConditionNotRunning)
		var e Exit
		select {
		case <-ctx.Done():
			return
		case <-done:
			e.State, e.Err = i.Inspect(ctx)
			if e.State.Status == container.StateRemoving {
				e = Exit{Err: ErrGone} // killed, but as a part of that
			}
		case err := <-failed:
			e.Err = err
			if errdefs.IsNotFound(err) {
				e.Err = ErrGone
			}
		}
		if ctx.Err() == nil {
			out <- e
		}
	}()
	return out
}

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
func (e Exit) Cause() string {
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

// advice is what to do about it.
func (e Exit) advice() string {
	s := e.State
	switch {
	case errors.Is(e.Err, ErrGone):
		return "run it again"
	case e.Err != nil:
		return "see `llorch-bk doctor`, then run it again"
	case s.OOMKilled:
		return "give it more with --memory, or take a smaller model or context (--ctx)"
	case s.Signal == sigILL:
		return "build an image for this machine: `llorch-bk build --cpu portable`"
	case s.Signal == sigKILL:
		return "see `dmesg` for the kernel's part; a smaller model or context (--ctx) needs less memory"
	case s.Signal != 0:
		return "run it again; where that does not help, its last lines belong into a bug report"
	}
	return "its last lines say why; a flag after the -- may be one that it does not know"
}

// Fault is the exit of a server that should have become ready, as an error for
// a person.
func (e Exit) Fault() *fault.Fault {
	what := "the server " + e.Cause()
	return fault.New(fault.Engine, what+" before it was ready", nil, e.advice())
}
