package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/docker/go-units"
	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/spf13/cobra"
)

func bundleCommand(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bundle",
		Short: "Take all that a lock names to a machine without a network",
		Long: `Bundle create puts everything that a lock names into one file, an archive of an
OCI image layout. Bundle load keeps that on another machine, which then builds,
patches and runs without a network: build --offline, up --offline.`,
		Example: `  llorch-bk bundle create --lock llorch.lock -o llama.bundle
  llorch-bk bundle load llama.bundle`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(bundleCreate(a), bundleLoad(a))
	return cmd
}

func bundleCreate(a *app.App) *cobra.Command {
	var flags buildFlags
	var opt app.BundleOptions
	var lock string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create -o FILE",
		Short: "Put everything that a lock names into one file",
		Long: `Create fetches what a lock names for one platform, each by its hash, and writes it
into one file: bases, source, the distribution's packages, npm's packages, the
builder, and with --model a model. Nothing is compiled. What is fetched is kept on
this machine too, so that this machine builds without a network as well.`,
		Example: `  llorch-bk bundle create -o llama.bundle
  llorch-bk bundle create --lock other.lock --model hf:org/repo:Q4_K_M -o llama.bundle`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opt.File == "" {
				return fault.New(fault.Usage, "there is no file to write", nil, "name one: llorch-bk bundle create -o llama.bundle")
			}
			file, err := outputFile(opt.File, "--output")
			if err != nil {
				return err
			}
			defer file.Cleanup() //nolint:errcheck // does nothing after the rename; before it, the first error counts
			opt.BuildOptions = flags.options(cmd)
			opt.Locked, opt.Output = lock, file
			made, err := a.CreateBundle(cmd.Context(), opt)
			if err == nil {
				err = file.CloseAtomicallyReplace()
			}
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.Out, made)
			}
			printKept(a.Out, "wrote "+made.Where, made)
			fmt.Fprintf(a.Out, "  there     llorch-bk bundle load %s\n", made.Where)
			return nil
		},
	}
	flags.addBuilder(cmd)
	cmd.Flags().StringVar(&lock, "lock", images.LockFile, "`file` of the lock")
	cmd.Flags().StringVarP(&opt.File, "output", "o", "", "`file` for the bundle")
	cmd.Flags().StringVar(&opt.Model, "model", "", "`ref` of a model that goes along: hf:ORG/REPO:QUANT, oci://… or a URL (default the lock's, if it has one)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

func bundleLoad(a *app.App) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "load FILE",
		Short: "Keep on this machine what a bundle has",
		Long: `Load reads a bundle, or the folder of one, verifies every blob in it, and keeps it in
the cache folder (LLORCH_CACHE_DIR); a model goes into the store of models. A bundle
that was cut off or changed is refused by the name of the blob. Loading one again
does no harm.`,
		Example: `  llorch-bk bundle load llama.bundle
  llorch-bk build --offline
  llorch-bk up --offline --model hf:org/repo:Q4_K_M`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := a.LoadBundle(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.Out, all)
			}
			for _, k := range all {
				printKept(a.Out, "loaded "+args[0], k)
			}
			fmt.Fprintln(a.Out, "  build     llorch-bk build --offline")
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// printKept says what is kept for a lock.
func printKept(w io.Writer, title string, k app.Kept) {
	fmt.Fprintf(w, "%s: %s at %.12s, %s for %s\n", title, k.Source, k.Commit, k.Variant, k.Platform)
	for _, c := range k.Contents {
		fmt.Fprintf(w, "  %-8s  %d, %s", c.Kind, c.Count, units.HumanSize(float64(c.Bytes)))
		if len(c.Names) > 0 {
			fmt.Fprintf(w, "  %s", strings.Join(c.Names, ", "))
		}
		fmt.Fprintln(w)
	}
}
