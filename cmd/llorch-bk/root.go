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

// rootCommand builds the whole command line.
func rootCommand(a *app.App) *cobra.Command {
	root := &cobra.Command{
		Use:   "llorch-bk",
		Short: "From any commit of llama.cpp to a healthy, verified endpoint",
		Long: `llorch-bk compiles llama.cpp with BuildKit, runs the image on a Docker engine with a
verified model, waits until the server is healthy, and writes a JSON handoff for the
program that uses the endpoint.

Every flag can also be set as an environment variable (LLORCH_MODEL for --model) or
in llorch.yaml. A flag overrides the variable, and the variable overrides the file.`,
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
	root.PersistentFlags().StringVar(&file, "file", "", "read settings from this `file` (default: llorch.yaml, if it exists)")
	root.PersistentFlags().StringVar(&a.Progress, "progress", "auto", "show progress as "+strings.Join(app.ProgressModes, ", "))
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := settings.Apply(cmd, a.Getenv, file); err != nil {
			return err
		}
		if !slices.Contains(app.ProgressModes, a.Progress) {
			return usage(fmt.Errorf("--progress must be one of %s, got %q", strings.Join(app.ProgressModes, ", "), a.Progress))
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

// asUsage makes every error about arguments a usage fault: exit code 2, with a pointer
// to the help.
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
