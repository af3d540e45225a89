package main

import (
	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/spf13/cobra"
)

// addModelUpdate declares the flag of commands that get a model.
func addModelUpdate(cmd *cobra.Command, a *app.App) {
	cmd.Flags().StringVar(&a.ModelUpdate, "model-update", "always", "what to do with a model that is here, while its branch or tag may mean a newer one: always (take that), check (use what is here, and say so), never (use what is here, ask nobody)")
}
