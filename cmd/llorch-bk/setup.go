package main

import (
	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/spf13/cobra"
)

func setupCommand(a *app.App) *cobra.Command {
	var opt app.SetupOptions
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Prepare this machine to build and run",
		Long: `Setup looks for a Docker engine. If there is none, it lists what it would do and asks.
On Debian and Ubuntu it can install and start the distribution's engine; elsewhere it
prints the commands. If no image registry answers, it bootstraps a Debian base image
from the distribution's packages. Running setup again changes nothing.

Setup installs only with your consent: --yes, YES=1 or CI=true in the environment, a
yes at the prompt, or root without a terminal.`,
		Example: `  llorch-bk setup
  llorch-bk setup --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.Setup(cmd.Context(), opt) },
	}
	cmd.Flags().BoolVar(&opt.Yes, "yes", false, "install without asking")
	return cmd
}
