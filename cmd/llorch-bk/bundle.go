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
		Short: "Pack everything that a lock names for a machine without a network",
		Long: `Bundle create packs everything that a lock names into one file, an archive of an
OCI image layout. Bundle load imports that file on another machine. That machine then
builds, patches and runs without a network: build --offline, up --offline.`,
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
		Short: "Pack everything that a lock names into one file",
		Long: `Create fetches everything that a lock names for one platform by its hash, and writes
it to one file: base images, source, the distribution's packages, npm packages, the
builder, and a model if one is named. It compiles nothing. This machine keeps a copy
of what was fetched, so it can build offline too.`,
		Example: `  llorch-bk bundle create -o llama.bundle
  llorch-bk bundle create --lock other.lock --model hf:org/repo:Q4_K_M -o llama.bundle`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opt.File == "" {
				return fault.New(fault.Usage, "no output file is named", nil, "name one: llorch-bk bundle create -o llama.bundle")
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
			fmt.Fprintf(a.Out, "  import    llorch-bk bundle load %s\n", made.Where)
			return nil
		},
	}
	flags.addBuilder(cmd)
	cmd.Flags().StringVar(&lock, "lock", images.LockFile, "read this lock `file`")
	cmd.Flags().StringVarP(&opt.File, "output", "o", "", "write the bundle to this `file`")
	cmd.Flags().StringVar(&opt.Model, "model", "", "add the model with this `ref`: hf:ORG/REPO:QUANT, oci://… or a URL (default: the lock's model, if it has one)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

func bundleLoad(a *app.App) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "load FILE",
		Short: "Import a bundle on this machine",
		Long: `Load reads a bundle (the file, or its unpacked folder), verifies every blob, and
copies it to the cache folder (LLORCH_CACHE_DIR). A model goes into the model store.
A truncated or changed bundle is refused, and the error names the blob. Loading a
bundle twice changes nothing.`,
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

// printKept prints what is stored for a lock, one line for each kind.
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
