package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
)

// ErrDeclined is the cause where a person said no.
var ErrDeclined = errors.New("you said no")

// Consent holds what decides whether a machine may be changed.
type Consent struct {
	// CI says that this is a CI job (CI=true), and Yes that the user said so
	// beforehand (--yes, YES=1).
	CI, Yes bool
	// Root says that the process is root, and Terminal that a person sits
	// before it.
	Root, Terminal bool
	// Ask shows the steps and gives the person's answer; nil means that nobody
	// can be asked.
	Ask func(context.Context, []Step) (bool, error)
}

// Decide gives nil when the steps may be carried out. Otherwise it gives a
// fault of the machine with the exact commands, or Ask's own error.
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
	return Refusal(steps, errors.New("nothing is installed unasked"))
}

// Refusal is the error for steps that are not carried out: it lists each
// required one with its commands. It is nil where none is required.
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
	advice := "run these commands" + as + ", then run it again"
	if errors.Is(why, ErrDeclined) || anyAutomatic(steps) {
		advice = "run these commands" + as + ", or run it again with `yes`"
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
