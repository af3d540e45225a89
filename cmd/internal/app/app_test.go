package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
)

func TestCacheDir(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env  map[string]string
		want string
	}{
		"ours wins":      {map[string]string{"LLORCH_CACHE_DIR": "/ours", "XDG_CACHE_HOME": "/xdg", "HOME": "/home/u"}, "/ours"},
		"relative":       {map[string]string{"LLORCH_CACHE_DIR": "ours"}, filepath.Join(here, "ours")},
		"the XDG one":    {map[string]string{"XDG_CACHE_HOME": "/xdg", "HOME": "/home/u"}, "/xdg/llorch-bk"},
		"below HOME":     {map[string]string{"HOME": "/home/u"}, "/home/u/.cache/llorch-bk"},
		"nowhere at all": {nil, ""},
	} {
		a := &App{Getenv: func(name string) string { return c.env[name] }}
		got, err := a.CacheDir()
		if got != c.want || (err == nil) == (c.want == "") {
			t.Errorf("%s: %q (%v), want %q", name, got, err, c.want)
		}
		if err != nil && (fault.ClassOf(err) != fault.Usage || !strings.Contains(fault.Report(err), "LLORCH_CACHE_DIR")) {
			t.Errorf("%s: error = %v, want a fault.Usage that names LLORCH_CACHE_DIR", name, err)
		}
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	live := t.Context()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	broken := fault.New(fault.Build, "the build failed", io.ErrUnexpectedEOF, "")
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		want fault.Class // 0: no error
	}{
		"all is well":                 {live, nil, 0},
		"done though Ctrl-C was late": {over, nil, 0},
		"a failure":                   {live, broken, fault.Build},
		"Ctrl-C":                      {over, context.Canceled, fault.Interrupted},
		"what Ctrl-C broke":           {over, fmt.Errorf("solve: %w", broken), fault.Interrupted},
		"a cancellation of another's": {live, context.Canceled, fault.Unexpected},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := interrupted(c.ctx, c.err)
			switch {
			case c.want == 0:
				if got != nil {
					t.Errorf("error = %v, want none", got)
				}
			case fault.ClassOf(got) != c.want:
				t.Errorf("error = %v, want class %d", got, c.want)
			case c.want != fault.Interrupted && !errors.Is(got, c.err):
				t.Errorf("error = %v, want %v", got, c.err)
			}
		})
	}
}

func TestNewIsThisProcess(t *testing.T) {
	t.Setenv("LLORCH_SOME_SETTING", "seen")
	if a := New(); a.Out == nil || a.Err == nil || a.Out == a.Err || a.Getenv("LLORCH_SOME_SETTING") != "seen" {
		t.Errorf("New() = %+v", a)
	}
}
