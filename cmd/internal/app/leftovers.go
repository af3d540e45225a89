package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/docker/go-units"
	"github.com/llorch/llorch-bk/images/fault"
)

// Leftover is one thing that this program left on this machine and that nothing
// uses now.
type Leftover struct {
	// Kind is one of PruneKinds.
	Kind string `json:"kind"`
	// Name is what it is called, or where it is.
	Name string `json:"name"`
	// Bytes is what it takes; 0 where that is not known.
	Bytes int64 `json:"bytes,omitempty"`
	// Why it can go, and Note for what more there is to know.
	Why  string `json:"why"`
	Note string `json:"note,omitempty"`
	// Removed is true once it is gone.
	Removed bool `json:"removed"`
}

// PrintLeftovers lists them with their sizes.
func PrintLeftovers(out io.Writer, all []Leftover) {
	tw := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	var sum int64
	for _, l := range all {
		bytes := "-"
		if l.Bytes > 0 {
			bytes = units.HumanSize(float64(l.Bytes))
		}
		sum += l.Bytes
		note := l.Note
		if note == "" {
			note = l.Why
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", strings.TrimSuffix(l.Kind, "s"), bytes, l.Name, note)
	}
	fmt.Fprintf(tw, "all\t%s\t\t\n", units.HumanSize(float64(sum)))
	_ = tw.Flush()
}

// confirmRemoval asks whether all of what was just listed may go.
func (a *App) confirmRemoval(ctx context.Context) (bool, error) {
	if !atTerminal() {
		return false, fault.New(fault.Usage, "nothing was removed", errors.New("there is no terminal to ask at"), "say --yes to remove all of the above")
	}
	fmt.Fprint(a.Err, "Remove all of it? [y/N] ")
	ok, err := answer(ctx)
	return ok, interrupted(ctx, err)
}
