package main

import (
	"errors"
	"fmt"

	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/cmd/internal/settings"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/pool"
	"github.com/spf13/cobra"
)

func runCommand(a *app.App) *cobra.Command {
	var flags runFlags
	var asJSON, dryRun bool
	cmd := &cobra.Command{
		Use:   "run [IMAGE] [-- SERVER FLAGS]",
		Short: "Run an image with a model, wait until it is healthy, write the handoff",
		Long: `Run downloads and verifies the model, starts the server in a locked-down container on
127.0.0.1, waits until it is healthy, and writes the handoff. IMAGE defaults to the
newest image that was built here. A pool that already runs the same server is left
alone. To replace another server, run creates the new container first, then stops the
old one, and starts the old one again if the new one does not become ready. Arguments
after -- go to llama-server. Files that they name are mounted read-only.`,
		Example: `  llorch-bk run
  llorch-bk run --model ./model.gguf --port 8080
  llorch-bk run --dry-run
  llorch-bk run --model hf:org/repo:Q4_K_M --draft hf:org/small --lora ./style.gguf=0.5
  llorch-bk run -- --chat-template-file ./chat.jinja --slot-save-path slots
  llorch-bk run --model hf:org/repo/file.gguf#sha256=0123... --pool chat -- --ctx-size 8192`,
		Args: imageThenServerFlags,
		RunE: func(cmd *cobra.Command, args []string) error {
			opt := flags.RunOptions
			opt.Image, opt.Server = splitArgs(cmd, args)
			if dryRun {
				plan, err := a.PlanRun(cmd.Context(), opt)
				return printPlan(cmd, a, plan, err, asJSON)
			}
			running, err := a.Run(cmd.Context(), opt)
			if err != nil {
				return err
			}
			return printRunning(a, running, opt, asJSON)
		},
	}
	flags.add(cmd)
	addModelUpdate(cmd, a)
	addDryRun(cmd, &dryRun)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the handoff as JSON")
	return cmd
}

func upCommand(a *app.App) *cobra.Command {
	var build buildFlags
	var flags runFlags
	var asJSON, dryRun bool
	cmd := &cobra.Command{
		Use:   "up [-- SERVER FLAGS]",
		Short: "Build the image, unless a matching one exists, and run it",
		Long: `Up is build followed by run. It reuses an image of the same commit, variant and flags
if that runs on this machine. Without --cpu it compiles for this machine's CPU level
only, which is much faster than compiling for all levels.`,
		Example: `  llorch-bk up
  llorch-bk up --ref master --model hf:org/repo/file.gguf
  llorch-bk up --cuda -- --ctx-size 16384`,
		Args: onlyServerFlags,
		RunE: func(cmd *cobra.Command, args []string) error {
			opt := flags.RunOptions
			_, opt.Server = splitArgs(cmd, args)
			bopt := build.options(cmd)
			bopt.ThisGPU = true
			opt.ModelGiven = build.given["model"]
			if err := onePlatform(cmd, bopt); err != nil {
				return err
			}
			if dryRun {
				plan, err := a.PlanUp(cmd.Context(), bopt, opt)
				return printPlan(cmd, a, plan, err, asJSON)
			}
			running, err := a.Up(cmd.Context(), bopt, opt)
			if err != nil {
				return err
			}
			return printRunning(a, running, opt, asJSON)
		},
	}
	build.add(cmd, images.CPUNative, images.CUDAAuto+" if the GPUs can be detected, else "+images.CUDAAll)
	build.addLocked(cmd)
	build.addKept(cmd)
	build.addOffline(cmd)
	flags.add(cmd)
	addModelUpdate(cmd, a)
	addDryRun(cmd, &dryRun)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the handoff as JSON")
	return cmd
}

func addDryRun(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "dry-run", false, "print each operation and its cause; change nothing")
}

// printPlan prints a run plan. For a refused plan it returns the error that the command
// itself would end with.
func printPlan(cmd *cobra.Command, a *app.App, p pool.Plan, err error, asJSON bool) error {
	if p.Refused != nil {
		err = p.Refused
	}
	if err != nil && len(p.Ops) == 0 {
		return err
	}
	if asJSON {
		return errors.Join(err, printJSON(a.Out, p))
	}
	fmt.Fprint(a.Out, fault.Name(p.String(), settings.Names(cmd)))
	return err
}
