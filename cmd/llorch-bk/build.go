package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/docker/go-units"
	"github.com/google/renameio/v2"
	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/spf13/cobra"
)

func buildCommand(a *app.App) *cobra.Command {
	var flags buildFlags
	var asJSON bool
	var metadata string
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build the image and load it into the engine",
		Long: `Build compiles llama.cpp's server with BuildKit and leaves the image in the
Docker engine. Compiled objects, packages and layers are cached, so that the
next build compiles only what changed.`,
		Example: `  llorch-bk build                                    # the pinned release, every CPU
  llorch-bk build --cuda --cuda-arch 86,89           # for RTX 30 and RTX 40
  llorch-bk build --ref master --cpu native --tag llama:edge
  llorch-bk build --source ~/src/llama.cpp           # a working tree as it stands`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keep, err := metadataFile(metadata)
			if err != nil {
				return err
			}
			if keep != nil {
				defer keep.Cleanup() //nolint:errcheck // does nothing after the rename; before it, the first error counts
			}
			built, err := a.Build(cmd.Context(), flags.options(cmd))
			if err != nil {
				return err
			}
			if err := writeMetadata(keep, built); err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.Out, built)
			}
			fmt.Fprintf(a.Out, "built %s\n", built)
			ran, cached := built.Compiled()
			if len(ran) > 0 {
				fmt.Fprintf(a.Out, "  compiled  %s\n", strings.Join(ran, ", "))
			}
			if len(cached) > 0 {
				fmt.Fprintf(a.Out, "  cached    %s\n", strings.Join(cached, ", "))
			}
			if len(built.Layers) > 0 {
				var sizes []string
				for _, l := range built.Layers {
					sizes = append(sizes, l.Name+" "+units.HumanSize(float64(l.Bytes)))
				}
				fmt.Fprintf(a.Out, "  layers    %s\n", strings.Join(sizes, ", "))
			}
			return nil
		},
	}
	flags.add(cmd, images.CPUPortable, images.CUDAAll)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	cmd.Flags().StringVar(&metadata, "metadata-file", "", "`file` for the result as JSON: digest, tags, steps with their times, plan")
	return cmd
}

// metadataFile begins the file before anything is built, so that one that cannot
// be written is found then; it is nil where none was asked for.
func metadataFile(path string) (*renameio.PendingFile, error) {
	if path == "" {
		return nil, nil
	}
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o644))
	if err != nil {
		return nil, fault.New(fault.Usage, "the metadata file "+path+" cannot be written", err, "check --metadata-file")
	}
	return f, nil
}

// writeMetadata makes the file appear, whole.
func writeMetadata(f *renameio.PendingFile, built app.Built) error {
	if f == nil {
		return nil
	}
	err := printJSON(f, built)
	if err == nil {
		err = f.CloseAtomicallyReplace()
	}
	if err != nil {
		return fmt.Errorf("the image was built, but its metadata cannot be written: %w", err)
	}
	return nil
}
