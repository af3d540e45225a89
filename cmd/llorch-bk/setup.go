package main

import (
	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/spf13/cobra"
)

func setupCommand(a *app.App) *cobra.Command {
	var opt app.SetupOptions
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Make this machine able to build and run",
		Long: `Setup finds a Docker engine. Where there is none it says what it would do and
asks; on Debian and Ubuntu it can install and start the distribution's engine,
elsewhere it prints the commands. Where no image registry answers it bootstraps a
Debian base image from the distribution's packages. Repeating it changes nothing.

Nothing is installed unasked: only with --yes, with YES=1 or CI=true in the
environment, after a yes at the prompt, or as root without a terminal.`,
		Example: `  llorch-bk setup
  llorch-bk setup --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.Setup(cmd.Context(), opt) },
	}
	cmd.Flags().BoolVar(&opt.Yes, "yes", false, "do it without asking")
	return cmd
}
