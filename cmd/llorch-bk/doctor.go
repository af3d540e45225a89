package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/cmd/internal/settings"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/doctor"
	"github.com/spf13/cobra"
)

func doctorCommand(a *app.App) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Report what is missing or wrong, why it matters, and what to do",
		Long: `Doctor inspects this machine and changes nothing. It exits with 0 if this machine can
build and run, and with 3 if it cannot.`,
		Example: "  llorch-bk doctor\n  llorch-bk doctor --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			found, err := a.Doctor(cmd.Context())
			if err != nil {
				return err
			}
			nameSettings(found, settings.Names(cmd))
			if asJSON {
				if found == nil {
					found = []doctor.Finding{}
				}
				if err := printJSON(a.Out, found); err != nil {
					return err
				}
			} else {
				printFindings(a, found)
			}
			for _, f := range found {
				if f.Severity == doctor.Error {
					return fault.New(fault.Machine, "this machine cannot build and run yet", errors.New(f.What), "run llorch-bk setup; it prints the commands for what it cannot do itself")
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	return cmd
}

// nameSettings replaces the names of settings in findings with the user's names for them.
func nameSettings(found []doctor.Finding, names func(setting, value string) string) {
	for i := range found {
		f := &found[i]
		f.What, f.Why = fault.Name(f.What, names), fault.Name(f.Why, names)
		f.Do = slices.Clone(f.Do)
		for j := range f.Do {
			f.Do[j] = fault.Name(f.Do[j], names)
		}
	}
}

func printFindings(a *app.App, found []doctor.Finding) {
	if !slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Severity != doctor.Info }) {
		fmt.Fprintln(a.Out, "nothing is wrong: this machine can build and run")
	}
	for _, f := range found {
		matters := "why it matters"
		if f.Severity == doctor.Info {
			matters = "what it is for"
		}
		fmt.Fprintf(a.Out, "%s: %s\n  %s: %s\n", f.Severity, f.What, matters, f.Why)
		for _, do := range f.Do {
			fmt.Fprintf(a.Out, "  %s\n", do)
		}
	}
}
