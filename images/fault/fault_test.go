package fault_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
)

func TestClassOf(t *testing.T) {
	t.Parallel()
	machine := fault.New(fault.Machine, "no engine", nil, "")
	for name, c := range map[string]struct {
		err  error
		want fault.Class
	}{
		"none":                 {errors.New("x"), fault.Unexpected},
		"a fault":              {machine, fault.Machine},
		"wrapped":              {fmt.Errorf("x: %w", machine), fault.Machine},
		"joined":               {errors.Join(io.EOF, machine), fault.Machine},
		"the outermost counts": {fault.New(fault.Build, "the build failed", machine, ""), fault.Build},
	} {
		if got := fault.ClassOf(c.err); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestFaultIsItsCause(t *testing.T) {
	t.Parallel()
	err := fault.New(fault.Model, "the download broke", fmt.Errorf("reading: %w", io.ErrUnexpectedEOF), "")
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	inner := fault.New(fault.Engine, "the server died", errors.New("exit code 1"), "look at its flags").WithLines([]string{"one", "two"})
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"no fault":       {errors.New("odd"), "odd\n"},
		"what alone":     {fault.New(fault.Usage, "no", nil, ""), "no\n"},
		"three parts":    {fault.New(fault.Usage, "no", errors.New("because"), "do this"), "no: because\nwhat to do: do this\n"},
		"with a log":     {inner, "the server died: exit code 1\n  | one\n  | two\nwhat to do: look at its flags\n"},
		"the inner wins": {fault.New(fault.Engine, "run", inner, "try again"), "run: the server died: exit code 1\n  | one\n  | two\nwhat to do: look at its flags\n"},
		"wrapped":        {fmt.Errorf("pool a: %w", inner), "pool a: the server died: exit code 1\n  | one\n  | two\nwhat to do: look at its flags\n"},
		"outer advice stays where the inner has none": {
			fault.New(fault.Engine, "run", fmt.Errorf("x: %w", fault.New(fault.Engine, "in", nil, "")), "try again"),
			"run: x: in\nwhat to do: try again\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := fault.Report(c.err); got != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
			}
		})
	}
}
