package main

import (
	"fmt"

	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/images"
	"github.com/spf13/cobra"
)

func buildCommand(a *app.App) *cobra.Command {
	var flags buildFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build the image and load it into the engine",
		Long: `Build compiles llama.cpp's server with BuildKit and leaves the image in the
Docker engine. Compiled objects, packages and layers are cached, so that the
next build compiles only what changed.`,
		Example: `  llorch-bk build                                    # the pinned release, every CPU
  llorch-bk build --cuda --cuda-arch 86,89           # for RTX 30 and RTX 40
  llorch-bk build --ref master --cpu native --tag llama:edge
  llorch-bk build --source ~/src/llama.cpp           # a working tree as it stands`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			built, err := a.Build(cmd.Context(), flags.options(cmd))
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.Out, built)
			}
			fmt.Fprintf(a.Out, "built %s\n", built)
			return nil
		},
	}
	flags.add(cmd, images.CPUPortable)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}
