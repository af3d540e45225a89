package main

import (
	"fmt"

	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/spf13/cobra"
)

// shown is how many differences are printed; all of them are in the JSON.
const shown = 20

func verifyCommand(a *app.App) *cobra.Command {
	var flags buildFlags
	var opt app.VerifyOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify [IMAGE]",
		Short: "Build from a lock once more, and compare byte for byte",
		Long: `Verify rebuilds an image from its lock without any cache, on a builder of its own
with nothing in it, and compares the platform's manifest. The image is one in a
registry, or the file of an archive that build --output wrote; it carries its
lock, unless --locked names another. Without an image, the lock is built twice.
Where the images differ, every layer and file is named, and both are kept.`,
		Example: `  llorch-bk verify registry.example.com/llama:edge
  llorch-bk verify --locked                          # llorch.lock, built twice
  llorch-bk verify --locked=other.lock image.tar`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.BuildOptions = flags.options(cmd)
			opt.Output.Insecure = flags.insecure
			if err := onePlatform(cmd, opt.BuildOptions); err != nil {
				return err
			}
			if len(args) > 0 {
				opt.Image = args[0]
			} else if opt.Locked == "" {
				return fault.New(fault.Usage, "there is nothing to verify", nil, "name an image, or a lock: llorch-bk verify --locked")
			}
			done, err := a.Verify(cmd.Context(), opt)
			if err != nil {
				return err
			}
			if asJSON {
				if err := printJSON(a.Out, done); err != nil {
					return err
				}
			} else {
				fmt.Fprintf(a.Out, "image    %s\nrebuilt  %s\n", done.Image, done.Rebuilt)
				for i, d := range done.Differences {
					if i == shown {
						fmt.Fprintf(a.Out, "  and %d more\n", len(done.Differences)-shown)
						break
					}
					fmt.Fprintf(a.Out, "  %s\n", d)
				}
			}
			if done.Same {
				return nil
			}
			return fault.New(fault.Build, "the image is not what its lock gives", nil, "compare them: both are kept in "+opt.Keep)
		},
	}
	flags.addBuilder(cmd)
	flags.addLocked(cmd)
	cmd.Flags().StringSliceVar(&flags.insecure, "insecure-registry", nil, "`registry` that may be asked without TLS (repeatable)")
	cmd.Flags().StringVar(&opt.Keep, "keep", "llorch-verify", "`folder` for both images where they differ")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}
