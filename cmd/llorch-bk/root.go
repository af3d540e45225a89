package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/cmd/internal/settings"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/spf13/cobra"
)

// rootCommand is the whole command line. One file per command: parse, call, print.
func rootCommand(a *app.App) *cobra.Command {
	root := &cobra.Command{
		Use:   "llorch-bk",
		Short: "From any commit of llama.cpp to a healthy, verified endpoint",
		Long: `llorch-bk compiles llama.cpp with BuildKit, runs the image on a Docker engine
with a verified model, waits until it is healthy, and writes a JSON handoff for
whatever program binds the endpoint next.

Every flag can also be set as an environment variable, LLORCH_ and the flag's
name in capitals (LLORCH_MODEL for --model), or in llorch.yaml. A flag wins over
the environment, the environment over the file.`,
		Example: `  llorch-bk up                        # build, download a small model, run
  llorch-bk up --model hf:org/repo/file.gguf -- --ctx-size 8192
  llorch-bk ps
  llorch-bk stop`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var file string
	root.PersistentFlags().StringVar(&file, "file", "", "settings `file` (default llorch.yaml, where there is one)")
	root.PersistentFlags().StringVar(&a.Progress, "progress", "auto", "how progress is shown: "+strings.Join(app.ProgressModes, ", "))
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := settings.Apply(cmd, a.Getenv, file); err != nil {
			return err
		}
		if !slices.Contains(app.ProgressModes, a.Progress) {
			return usage(fmt.Errorf("--progress %q is not one of %s", a.Progress, strings.Join(app.ProgressModes, ", ")))
		}
		return nil
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fault.New(fault.Usage, err.Error(), nil, "see "+cmd.CommandPath()+" --help")
	})
	root.AddCommand(
		setupCommand(a), doctorCommand(a), planCommand(a), lockCommand(a), bundleCommand(a), buildCommand(a), verifyCommand(a), runCommand(a), upCommand(a),
		stopCommand(a), psCommand(a), logsCommand(a), modelCommand(a), pruneCommand(a), versionCommand(a),
	)
	root.InitDefaultCompletionCmd()
	asUsage(root)
	return root
}

// asUsage makes every complaint about arguments a usage fault, so that it ends
// with exit code 2 and a pointer to the help.
func asUsage(cmd *cobra.Command) {
	if args := cmd.Args; args != nil {
		cmd.Args = func(cmd *cobra.Command, words []string) error {
			err := args(cmd, words)
			var f *fault.Fault
			if err == nil || errors.As(err, &f) {
				return err
			}
			return fault.New(fault.Usage, err.Error(), nil, "see "+cmd.CommandPath()+" --help")
		}
	}
	for _, c := range cmd.Commands() {
		asUsage(c)
	}
}

func usage(err error) error {
	var f *fault.Fault
	if errors.As(err, &f) {
		return err
	}
	return fault.New(fault.Usage, err.Error(), nil, "see llorch-bk --help")
}
