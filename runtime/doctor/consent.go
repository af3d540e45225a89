package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
)

// ErrDeclined is the cause if the user answered no.
var ErrDeclined = errors.New("you answered no")

// Consent decides whether the machine may be changed.
type Consent struct {
	// CI is true in a CI job (CI=true), and Yes if the user agreed in advance (--yes, YES=1).
	CI, Yes bool
	// Root is true if the process is root, and Terminal if a person can be asked.
	Root, Terminal bool
	// Ask shows the steps and returns the user's answer; nil if nobody can be asked.
	Ask func(context.Context, []Step) (bool, error)
}

// Decide returns nil if the steps may be carried out. Otherwise it returns a fault with the
// exact commands, or Ask's own error.
func (c Consent) Decide(ctx context.Context, steps []Step) error {
	var offered []Step
	for _, s := range steps {
		if !s.Manual() {
			offered = append(offered, s)
		}
	}
	switch {
	case len(offered) == 0, c.Yes, c.CI:
		return nil
	case c.Terminal && c.Ask != nil:
		yes, err := c.Ask(ctx, offered)
		if err != nil || yes {
			return err
		}
		return Refusal(steps, ErrDeclined)
	case c.Root && !c.Terminal:
		return nil
	}
	return Refusal(steps, errors.New("llorch-bk installs nothing without consent"))
}

// Refusal is the error for steps that are not carried out. It lists the required ones with
// their commands; it is nil if none is required.
func Refusal(steps []Step, why error) error {
	var names, do []string
	as := ""
	for _, s := range steps {
		if s.Optional {
			continue
		}
		if s.NeedsRoot && len(s.Commands) > 0 && !strings.HasPrefix(s.Commands[0], "sudo ") {
			as = " as root"
		}
		names = append(names, s.What)
		do = append(do, s.text())
	}
	if len(names) == 0 {
		return nil
	}
	advice := "run these commands" + as + ", then repeat the command"
	if errors.Is(why, ErrDeclined) || anyAutomatic(steps) {
		advice = "run these commands" + as + ", or repeat the command with `yes`"
	}
	return fault.New(fault.Machine, "this machine needs: "+strings.Join(names, "; "), why,
		fmt.Sprintf("%s:\n%s", advice, strings.Join(do, "\n")))
}

func anyAutomatic(steps []Step) bool {
	for _, s := range steps {
		if !s.Manual() {
			return true
		}
	}
	return false
}
