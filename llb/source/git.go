package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
)

// gitTimeout limits ls-remote, which lists only a few refs. Other commands take as long as
// disk and network need.
const gitTimeout = 2 * time.Minute

// gitError is a failure of git.
type gitError struct {
	verb string
	// said is the relevant line, all is everything that git printed.
	said, all string
	err       error
}

func (e *gitError) Error() string {
	if e.said == "" {
		return fmt.Sprintf("git %s: %v", e.verb, e.err)
	}
	return fmt.Sprintf("git %s: %s", e.verb, e.said)
}

func (e *gitError) Unwrap() error { return e.err }

// env is git's environment: the user's, which may contain GIT_SSH_COMMAND or proxies,
// without variables that select another repository.
func (r Resolver) env() []string {
	env := r.Env
	if env == nil {
		env = os.Environ()
	}
	return slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		return strings.HasPrefix(e, "GIT_DIR=") || strings.HasPrefix(e, "GIT_WORK_TREE=") || strings.HasPrefix(e, "GIT_INDEX_FILE=")
	})
}

// git runs git in dir and returns its output. It never prompts.
func (r Resolver) git(ctx context.Context, dir string, args ...string) (string, error) {
	if len(args) > 0 && args[0] == "ls-remote" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, gitTimeout)
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"GIT_SSH_COMMAND=ssh -o BatchMode=yes"}, r.env()...)
	cmd.Env = append(cmd.Env, "GIT_TERMINAL_PROMPT=0", "LC_ALL=C", "GIT_NO_REPLACE_OBJECTS=1")
	cmd.Env = append(cmd.Env, r.extra...)
	// git-remote-https can outlive git and keep the pipe open.
	cmd.WaitDelay = 2 * time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	switch {
	case err == nil:
		return out.String(), nil
	case errors.Is(err, exec.ErrNotFound):
		return "", fault.New(fault.Machine, "git is not installed", nil, "install git, for example: apt-get install git")
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	}
	return "", &gitError{verb: verb(args), said: lastLine(said.String()), all: said.String(), err: err}
}

// verb is git's subcommand: the first word that is not an option or an option's value.
func verb(args []string) string {
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "-c" || args[i] == "--git-dir" || args[i] == "--work-tree":
			i++
		case !strings.HasPrefix(args[i], "-"):
			return args[i]
		}
	}
	return ""
}

// lastLine is the last line with an error message, which git prints last.
func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if l := strings.TrimSpace(lines[i]); strings.HasPrefix(l, "fatal:") || strings.HasPrefix(l, "error:") {
			return strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(l, "fatal:"), "error:"))
		}
	}
	return strings.TrimSpace(lines[len(lines)-1])
}
