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
		Short: "Run an image with a model until it is healthy, then write the handoff",
		Long: `Run gets and verifies the model, starts the server in a locked-down container on
127.0.0.1, waits until it is healthy, and writes the handoff. Without IMAGE it
takes the newest one that was built here. A pool that already runs the same
thing is left alone; one that runs another is stopped only once the new container
is made, and is started again where that does not get ready. What follows -- goes
to llama-server; files that it names are shown to the server, read-only.`,
		Example: `  llorch-bk run
  llorch-bk run --model ./model.gguf --port 8080
  llorch-bk run --dry-run
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
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the handoff instead of a text")
	return cmd
}

func upCommand(a *app.App) *cobra.Command {
	var build buildFlags
	var flags runFlags
	var asJSON, dryRun bool
	cmd := &cobra.Command{
		Use:   "up [-- SERVER FLAGS]",
		Short: "Build, unless an image that fits is there, and run",
		Long: `Up is build and run in one. An image of the same commit, variant and flags that
runs on this machine is used as it is. Without --cpu it builds for this machine's
own CPU level, which compiles many times faster than all of them.`,
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
	build.add(cmd, images.CPUNative, images.CUDAAuto+" where it can be told, else "+images.CUDAAll)
	build.addLocked(cmd)
	build.addKept(cmd)
	build.addOffline(cmd)
	flags.add(cmd)
	addModelUpdate(cmd, a)
	addDryRun(cmd, &dryRun)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the handoff instead of a text")
	return cmd
}

func addDryRun(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "dry-run", false, "print what would be done, and why, and do nothing")
}

// printPlan prints a run plan; one that is refused is the error that the command
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
