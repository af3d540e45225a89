package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/process"
)

// ErrManual is the cause of an error about a step that only a person can do.
var ErrManual = errors.New("this step must be done by hand")

// Runner runs a command to its end. It passes each line to log, and returns the last lines.
type Runner interface {
	Run(ctx context.Context, argv []string, log func(string)) ([]string, error)
}

// Applier carries out steps.
type Applier struct {
	System System
	Runner Runner
	// Log receives the commands and their output; nil discards it.
	Log func(string)
	// Env is the environment of an engine that is started here; nil for this process's own.
	Env []string
	// Timeout is how long an engine may take to answer; zero means one minute.
	Timeout time.Duration
}

// Apply carries out one step. It decides nothing, with one exception: it removes a pid file
// only if no process owns the file at that moment.
func (a Applier) Apply(ctx context.Context, step Step) error {
	switch act := step.action.(type) {
	case nil:
		return fault.New(fault.Machine, "cannot "+step.What, ErrManual, "run:\n"+step.text())
	case installPackages:
		return a.install(ctx, step, act)
	case runAndWait:
		if lines, err := a.run(ctx, act.argv); err != nil {
			if len(act.journal) > 0 {
				if journal, err := a.Runner.Run(ctx, act.journal, func(string) {}); err == nil {
					lines = journal
				}
			}
			return failed(step, err, lines)
		}
		return a.waitReady(ctx, step)
	case waitForEngine:
		return a.waitReady(ctx, step)
	case startEngine:
		return a.start(ctx, act)
	case changeConfig:
		changed, err := mergeConfigFile(act.path, act.changes)
		if err != nil || !changed {
			return err
		}
		lines, err := a.run(ctx, act.reload)
		if err != nil {
			return failed(step, err, lines)
		}
		return nil
	default:
		return fmt.Errorf("step %s: unknown action %T", step.ID, act)
	}
}

// install goes on if only the package lists could not be refreshed: one broken third-party
// source is enough for that. If the installation then fails, it shows those lines too.
func (a Applier) install(ctx context.Context, step Step, act installPackages) error {
	stale, updateErr := a.run(ctx, act.update)
	if ctx.Err() != nil {
		return failed(step, context.Cause(ctx), nil)
	}
	lines, err := a.run(ctx, act.install)
	if err == nil {
		return nil
	}
	if updateErr != nil {
		lines = append(stale, lines...)
	}
	return failed(step, err, lines)
}

func (a Applier) start(ctx context.Context, act startEngine) error {
	for _, path := range stale(a.System) {
		a.log("remove " + path + ": its process is gone")
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fault.New(fault.Machine, "cannot start the engine", err, "remove the stale file: rm -f "+path)
		}
	}
	path := act.dockerd
	// A package that was just installed is only found now.
	if found, err := a.System.LookPath("dockerd"); err == nil && !strings.Contains(path, "/") {
		path = found
	}
	a.log("start " + path + " with its log in " + act.log)
	_, err := process.Daemon{Name: "the engine", Path: path, Env: a.Env, Log: act.log, Ready: a.answers, Timeout: a.Timeout}.Start(ctx)
	return err
}

func (a Applier) answers(ctx context.Context) error {
	_, err := a.System.Ping(ctx)
	return err
}

// waitReady waits until the engine answers or refuses this user. In the latter case it
// runs, and another step deals with the refusal.
func (a Applier) waitReady(ctx context.Context, step Step) error {
	timeout := a.Timeout
	if timeout == 0 {
		timeout = time.Minute
	}
	wait, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	addr := a.System.Platform().EngineAddr
	for {
		err := a.answers(wait)
		if err == nil || problem(wait, a.System, addr) == Denied {
			return nil
		}
		select {
		case <-wait.Done():
			if ctx.Err() != nil {
				return failed(step, context.Cause(ctx), nil)
			}
			return failed(step, fmt.Errorf("the engine did not answer within %v: %w", timeout, err), nil)
		case <-poll.C:
		}
	}
}

func (a Applier) run(ctx context.Context, argv []string) ([]string, error) {
	a.log("+ " + shellLine(argv))
	return a.Runner.Run(ctx, argv, a.log)
}

func (a Applier) log(line string) {
	if a.Log != nil {
		a.Log(line)
	}
}

func failed(step Step, err error, lines []string) error {
	what := "cannot " + step.What
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", what, err)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("the command failed: %w", err)
	}
	do := "the engine's log has the cause"
	if len(step.Commands) > 0 {
		do = "fix the cause, then run by hand:\n" + step.text()
	}
	return fault.New(fault.Machine, what, err, do).WithLines(lines)
}
