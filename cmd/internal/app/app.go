// Package app holds the use cases of the command line, such as plan, build, run, up, stop
// and setup. It is the only package that combines the build half (llb) with the run half
// (runtime).
package app

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/llorch/llorch-bk/images/fault"
)

// App is the environment of a command. Use cases read the process environment only
// through it.
type App struct {
	// Out receives results, Err everything else.
	Out, Err io.Writer
	// Getenv reads one environment variable.
	Getenv func(string) string
	// Progress is one of ProgressModes.
	Progress string
	// ModelUpdate is what becomes of a model that is here while there may be a newer one,
	// as model.ParseUpdate reads it.
	ModelUpdate string
}

// CacheDir is the folder for data that can be rebuilt: checked-out sources, bootstrapped
// bases. LLORCH_CACHE_DIR overrides it.
func (a *App) CacheDir() (string, error) {
	if dir := a.Getenv("LLORCH_CACHE_DIR"); dir != "" {
		return filepath.Abs(dir)
	}
	base := a.Getenv("XDG_CACHE_HOME")
	if base == "" {
		home := a.Getenv("HOME")
		if home == "" {
			return "", fault.New(fault.Usage, "cannot choose a cache folder", errors.New("HOME, XDG_CACHE_HOME and LLORCH_CACHE_DIR are not set"), "set LLORCH_CACHE_DIR to a folder")
		}
		base = filepath.Join(home, ".cache")
	}
	return filepath.Join(base, "llorch-bk"), nil
}

// New returns the App of this process.
func New() *App {
	return &App{Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Progress: "auto"}
}

// interrupted turns the error of a cancelled command into fault.Interrupted, whichever
// layer noticed the cancellation first. It keeps the errors of clean-ups that failed.
func interrupted(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if left := fault.Leftovers(err); left != nil {
		return fault.New(fault.Interrupted, "interrupted; some clean-up failed", left, "")
	}
	return fault.New(fault.Interrupted, "interrupted", nil, "")
}
