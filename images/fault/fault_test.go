package fault_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
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

func TestName(t *testing.T) {
	t.Parallel()
	known := func(setting, value string) string {
		switch {
		case setting == "listen" && value == "":
			return "LLORCH_LISTEN"
		case setting == "cpu" || setting == "cuda-arch":
			return "--" + setting + " " + value
		}
		return ""
	}
	for in, want := range map[string]string{
		"`listen` must be an IP address":          "LLORCH_LISTEN must be an IP address",
		"use `cpu=native` or `cuda-arch=86,89`":   "use --cpu native or --cuda-arch 86,89",
		"see `llorch-bk doctor`, or `nvidia-smi`": "see `llorch-bk doctor`, or `nvidia-smi`",
		"nothing of the kind":                     "nothing of the kind",
	} {
		if got := fault.Name(in, known); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// What is left behind is found wherever it stands in an error, and all of it.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	one := &fault.Leftover{What: "the container a is left behind", Why: errors.New("busy"), Do: "docker rm -f a"}
	two := &fault.Leftover{What: "the volume b is left behind", Why: errors.New("busy"), Do: "docker volume rm b"}
	if err := fault.Leftovers(errors.New("x")); err != nil {
		t.Errorf("of nothing: %v", err)
	}
	if err := fault.Leftovers(nil); err != nil {
		t.Errorf("of no error: %v", err)
	}
	err := fault.Leftovers(fault.New(fault.Engine, "it failed", errors.Join(io.EOF, fmt.Errorf("on the way: %w", one), two), ""))
	if err == nil || err.Error() != one.Error()+"\n"+two.Error() {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(one.Error(), "docker rm -f a") {
		t.Errorf("it does not say what to do: %v", one)
	}
}
