package engine_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

func TestCauses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		e     engine.Ended
		lines string
		text  string
		do    string
	}{
		{engine.Ended{State: engine.State{OOMKilled: true, ExitCode: 137, Signal: 9}}, "", "was killed because memory ran out (OOM)", "`memory`"},
		{engine.Ended{State: engine.State{ExitCode: 132, Signal: 4}}, "", "died of signal 4 (illegal instruction): this machine's CPU is older than the image was built for", "`cpu=portable`"},
		{engine.Ended{State: engine.State{ExitCode: 137, Signal: 9}}, "", "died of signal 9 (killed)", "dmesg"},
		{engine.Ended{State: engine.State{ExitCode: 139, Signal: 11}}, "", "died of signal 11", "report the crash"},
		{engine.Ended{State: engine.State{ExitCode: 143, Signal: 15}}, "", "asked to stop", "who stopped it"},
		{engine.Ended{State: engine.State{ExitCode: 1}}, "error: invalid argument: --nope", "exited with code 1", "correct the server's flags"},
		{engine.Ended{State: engine.State{ExitCode: 1}}, "error: error while handling argument \"-c\": invalid stoi", "exited with code 1", "correct the server's flags"},
		// Nobody has seen why, so nobody guesses.
		{engine.Ended{State: engine.State{ExitCode: 1}}, "failed to mlock 99-byte buffer", "exited with code 1", "the server's last lines say why"},
		{engine.Ended{State: engine.State{ExitCode: 0}}, "", "exited with code 0", "the server's last lines say why"},
		{engine.Ended{State: engine.State{ExitCode: 127}}, "", "cannot be executed", "llorch-bk build"},
		{engine.Ended{State: engine.State{ExitCode: 255}}, "", "exited with code 255", ""},
		{engine.Ended{Err: engine.ErrGone}, "", "was removed before", "who removed it"},
		{engine.Ended{Err: errors.New("EOF")}, "", "can no longer be watched: EOF", "doctor"},
	} {
		f := c.e.Explain([]string{c.lines})
		if f.Class != fault.Engine || !strings.Contains(f.Error(), c.text) || !strings.Contains(f.Do, c.do) {
			t.Errorf("%+v: %s", c.e, fault.Report(f))
		}
	}
}

func TestCleanLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain\n":                "plain",
		"\x1b[31mred\x1b[0m\r\n": "red",
		"10%\r20%\r30%\n":        "30%",
		"a\tb\x07\u009b2J":       "a b2J",
		"\x1b]0;title\x07x":      "]0;titlex",
		"bad \xff byte":          "bad � byte",
		strings.Repeat("é", 600): strings.Repeat("é", 500) + "…",
		"":                       "",
		"\r":                     "",
	} {
		if got := engine.CleanLine(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
