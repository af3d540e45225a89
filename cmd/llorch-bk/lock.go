package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/spf13/cobra"
)

func lockCommand(a *app.App) *cobra.Command {
	var flags buildFlags
	var opt app.LockOptions
	var asJSON, schema bool
	cmd := &cobra.Command{
		Use:   "lock",
		Short: "Record everything that an image is made of, to build the same again",
		Long: `Lock looks up the source's commit, the digests of the base images, and every package
of the build with its sha256, and writes them to a file. build --locked uses exactly
those, or fails and names what is no longer available. A base image and its packages
are updated together. A model is locked by its repository's commit and by each file's
sha256. --keep stores the packages themselves in a folder or registry; build --kept
uses them even after the mirrors have deleted them.`,
		Example: `  llorch-bk lock --ref v0.5.0                        # writes llorch.lock
  llorch-bk build --locked                           # builds exactly that
  llorch-bk lock --model hf:org/repo:Q4_K_M          # what up --locked serves, too
  llorch-bk lock --update packages                   # newer packages, same source
  llorch-bk lock --keep oci://registry.example.com/packages:llama
  llorch-bk lock --check                             # fails if something has changed`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if schema {
				_, err := a.Out.Write(images.LockJSONSchema)
				return err
			}
			if opt.Keep != "" && opt.Check {
				return fault.New(fault.Usage, "--keep and --check cannot be used together", errors.New("--check writes nothing"), "remove one of them")
			}
			opt.BuildOptions, opt.SourceChosen = flags.options(cmd), cmd.Flags().Changed("source")
			done, err := a.Lock(cmd.Context(), opt)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.Out, done)
			}
			verb := "wrote"
			if opt.Check {
				verb = "up to date:"
			}
			fmt.Fprintf(a.Out, "%s %s\n", verb, done.File)
			if !done.New && len(done.Changed) == 0 {
				fmt.Fprintln(a.Out, "  nothing has changed")
			}
			for _, d := range done.Changed {
				fmt.Fprintf(a.Out, "  %s\n", d)
			}
			if done.Kept != nil {
				printKept(a.Out, "kept in "+done.Kept.Where, *done.Kept)
			}
			return nil
		},
	}
	flags.add(cmd, images.CPUPortable, images.CUDAAll)
	cmd.Flags().StringVar(&opt.File, "lock", images.LockFile, "write this lock `file`")
	cmd.Flags().StringVar(&opt.Model, "model", "", "lock the model with this `ref` too; up --locked then serves it")
	cmd.Flags().StringVar(&opt.Update, "update", "", "update only this `part` of the lock: "+strings.Join(app.LockParts, ", "))
	cmd.Flags().StringVar(&opt.Keep, "keep", "", "store the distribution's and npm's packages in this `place`: a folder, or oci://REGISTRY/NAME[:TAG]")
	cmd.Flags().BoolVar(&opt.Check, "check", false, "write nothing; fail if the lock is out of date")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	cmd.Flags().BoolVar(&schema, "schema", false, "print the JSON Schema of locks")
	return cmd
}
