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
)

// ErrManual says that a step is for a person.
var ErrManual = errors.New("this step has to be done by hand")

// Runner runs a command to its end and passes its lines on. It gives the last
// lines too.
type Runner interface {
	Run(ctx context.Context, argv []string, log func(string)) ([]string, error)
}

// Applier carries out steps.
type Applier struct {
	System System
	Runner Runner
	// Log gets the commands and what they say; nil drops it.
	Log func(string)
	// Env is the environment of an engine that is started here; nil means
	// this process's own.
	Env []string
	// Timeout is how long an engine may take to answer; zero means a minute.
	Timeout time.Duration
}

// Apply carries out one step. It decides nothing, except that a pid file is
// removed only when nothing stands behind it at that very moment.
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

// install goes on when only the package lists could not be refreshed, since one
// broken source of a third party is enough for that. Its lines are shown when
// the installation fails then.
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
		a.log("remove " + path + ": nothing runs behind it")
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fault.New(fault.Machine, "cannot start the engine", err, "rm -f "+path)
		}
	}
	path := act.dockerd
	// A package that was installed a moment ago is found only now.
	if found, err := a.System.LookPath("dockerd"); err == nil && !strings.Contains(path, "/") {
		path = found
	}
	a.log("start " + path + ", which writes to " + act.log)
	return Daemon{Path: path, Env: a.Env, Log: act.log, Ready: a.answers, Timeout: a.Timeout}.Start(ctx)
}

func (a Applier) answers(ctx context.Context) error {
	_, err := a.System.Ping(ctx)
	return err
}

// waitReady waits until the engine answers, or refuses this user: then it runs,
// and the refusal is another step's.
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
			return failed(step, fmt.Errorf("it did not answer within %v: %w", timeout, err), nil)
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
		err = fmt.Errorf("a command ended with %w", err)
	}
	do := "look at the engine's log, then run it again"
	if len(step.Commands) > 0 {
		do = "when the cause is removed, run it again, or by hand:\n" + step.text()
	}
	return fault.New(fault.Machine, what, err, do).WithLines(lines)
}
