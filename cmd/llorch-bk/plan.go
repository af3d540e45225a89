package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/cmd/internal/settings"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// planFormats are the values of --format.
var planFormats = []string{"text", "json", "llb", "dot"}

func planCommand(a *app.App) *cobra.Command {
	var flags buildFlags
	var format string
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Print what build would do; needs no builder",
		Long: `Plan prints everything that build would put into an image. It needs no builder and no
engine. Facts that only a builder knows are listed as "to look up".`,
		Example: `  llorch-bk plan --cuda
  llorch-bk plan --source llama.bundle --cpu native --format json
  llorch-bk plan --platform linux/amd64,linux/arm64  # one plan after the other
  llorch-bk plan --source llama.bundle --format llb | buildctl debug dump-llb
  llorch-bk plan --format dot | dot -Tsvg > plan.svg`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(planFormats, format) {
				return fault.New(fault.Usage, fmt.Sprintf("--format must be one of %s, got %q", strings.Join(planFormats, ", "), format), nil, "see llorch-bk plan --help")
			}
			opt := flags.options(cmd)
			if format == "llb" {
				if err := onePlatform(cmd, opt); err != nil {
					return err
				}
			}
			plans, err := a.Plan(cmd.Context(), opt)
			if err != nil {
				return err
			}
			switch format {
			case "json":
				if len(plans) > 1 {
					return printJSON(a.Out, plans)
				}
				return printJSON(a.Out, plans[0])
			case "llb":
				if f, ok := a.Out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
					return fault.New(fault.Usage, "--format llb prints binary data, and stdout is a terminal", nil, "pipe it, as in: llorch-bk plan --format llb | buildctl debug dump-llb")
				}
				return app.WriteLLB(cmd.Context(), plans[0], a.Out)
			}
			for i, plan := range plans {
				if format == "dot" {
					if err := plan.WriteDot(a.Out); err != nil {
						return err
					}
					continue
				}
				var text strings.Builder
				if i > 0 {
					text.WriteString("\n")
				}
				if err := plan.WriteText(&text); err != nil {
					return err
				}
				if _, err := io.WriteString(a.Out, fault.Name(text.String(), settings.Names(cmd))); err != nil {
					return err
				}
			}
			return nil
		},
	}
	flags.add(cmd, images.CPUPortable, images.CUDAAll)
	flags.addLocked(cmd)
	cmd.Flags().StringVar(&format, "format", "text", "print the plan in this format: "+strings.Join(planFormats, ", "))
	return cmd
}
