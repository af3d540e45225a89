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
		Short: "Write down everything that an image is made of, to build the same later",
		Long: `Lock looks up the source's commit, the digests of the bases and every package
that a build would take, with its sha256, and writes them into a file. With
build --locked exactly those are used, or the build says what can no longer be
had. A base and its packages move together. A model is locked by the commit of its
repository and by the sha256 of each file. With --keep the packages themselves go
into a folder or registry, from which build --kept takes them for ever.`,
		Example: `  llorch-bk lock --ref v0.5.0                        # writes llorch.lock
  llorch-bk build --locked                           # builds exactly that
  llorch-bk lock --model hf:org/repo:Q4_K_M          # what up --locked serves, too
  llorch-bk lock --update packages                   # newer packages, the same source
  llorch-bk lock --keep oci://registry.example.com/packages:llama
  llorch-bk lock --check                             # fails where something has moved`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if schema {
				_, err := a.Out.Write(images.LockJSONSchema)
				return err
			}
			if opt.Keep != "" && opt.Check {
				return fault.New(fault.Usage, "--keep and --check exclude each other", errors.New("a check writes nothing"), "leave one of them out")
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
				verb = "kept to"
			}
			fmt.Fprintf(a.Out, "%s %s\n", verb, done.File)
			if !done.New && len(done.Changed) == 0 {
				fmt.Fprintln(a.Out, "  nothing has moved")
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
	cmd.Flags().StringVar(&opt.File, "lock", images.LockFile, "`file` of the lock")
	cmd.Flags().StringVar(&opt.Model, "model", "", "model `ref` to lock as well, which up --locked then serves")
	cmd.Flags().StringVar(&opt.Update, "update", "", "`part` to move while the rest stays: "+strings.Join(app.LockParts, ", "))
	cmd.Flags().StringVar(&opt.Keep, "keep", "", "`place` to keep the packages themselves in, of the distribution and of npm: a folder, or oci://REGISTRY/NAME[:TAG]")
	cmd.Flags().BoolVar(&opt.Check, "check", false, "write nothing; fail where the lock is not what it would be now")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	cmd.Flags().BoolVar(&schema, "schema", false, "print the JSON Schema of locks, and look nothing up")
	return cmd
}
