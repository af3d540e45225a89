package main

import (
	"fmt"

	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/spf13/cobra"
)

func planCommand(a *app.App) *cobra.Command {
	var flags buildFlags
	var format string
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Print what build would do; needs no builder",
		Long: `Plan prints everything that build would make an image of. It needs neither a
builder nor an engine: what only they can tell is listed as still to be looked up.`,
		Example: `  llorch-bk plan --cuda
  llorch-bk plan --source llama.bundle --cpu native --format json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "text" && format != "json" {
				return fault.New(fault.Usage, fmt.Sprintf("--format %q is not text or json", format), nil, "see llorch-bk plan --help")
			}
			plan, err := a.Plan(cmd.Context(), flags.options(cmd))
			if err != nil {
				return err
			}
			if format == "json" {
				return printJSON(a.Out, plan)
			}
			return plan.WriteText(a.Out)
		},
	}
	flags.add(cmd, images.CPUPortable)
	cmd.Flags().StringVar(&format, "format", "text", "text or json")
	return cmd
}
