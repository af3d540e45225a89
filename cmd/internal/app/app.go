// Package app holds the use cases of the command line: what plan, build, run,
// up, stop, ps, logs and setup do. It is the one place that brings the graph
// (package llb) and the running (packages below runtime) together.
package app

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/llorch/llorch-bk/images/fault"
)

// App is the surroundings of a command. Use cases take nothing from the
// process' environment but through it.
type App struct {
	// Out gets results, Err everything else.
	Out, Err io.Writer
	// Getenv reads one environment variable.
	Getenv func(string) string
	// Progress is one of ProgressModes.
	Progress string
	// ModelUpdate is what becomes of a model that is here while there may be a newer one,
	// as model.ParseUpdate reads it.
	ModelUpdate string
}

// CacheDir is where what can be made again is kept: checked-out sources,
// bootstrapped bases. LLORCH_CACHE_DIR names another place.
func (a *App) CacheDir() (string, error) {
	if dir := a.Getenv("LLORCH_CACHE_DIR"); dir != "" {
		return filepath.Abs(dir)
	}
	base := a.Getenv("XDG_CACHE_HOME")
	if base == "" {
		home := a.Getenv("HOME")
		if home == "" {
			return "", fault.New(fault.Usage, "there is no cache folder", errors.New("neither HOME nor XDG_CACHE_HOME is set"), "set HOME, or LLORCH_CACHE_DIR to a folder")
		}
		base = filepath.Join(home, ".cache")
	}
	return filepath.Join(base, "llorch-bk"), nil
}

// New returns the App of this process.
func New() *App {
	return &App{Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Progress: "auto"}
}

// interrupted replaces the error of a cancelled command by what it means to the
// user, whatever layer noticed the cancellation first. What could not be cleaned up
// is said all the same.
func interrupted(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if left := fault.Leftovers(err); left != nil {
		return fault.New(fault.Interrupted, "interrupted, and not everything could be cleaned up", left, "clean up what is named")
	}
	return fault.New(fault.Interrupted, "interrupted", nil, "")
}
