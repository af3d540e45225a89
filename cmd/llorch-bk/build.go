package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/docker/go-units"
	"github.com/google/renameio/v2"
	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/buildkit"
	"github.com/spf13/cobra"
)

func buildCommand(a *app.App) *cobra.Command {
	var flags buildFlags
	var asJSON bool
	var metadata, archive string
	var output buildkit.Output
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build the image and load it into the engine",
		Long: `Build compiles llama.cpp's server with BuildKit and loads the image into the
Docker engine. --push sends it to a registry instead, --output to a file. Compiled
objects, packages and layers are cached, so the next build compiles only what
changed. CPU images for another platform are cross-compiled. Several platforms
make one index.`,
		Example: `  llorch-bk build                                    # the pinned release, every CPU
  llorch-bk build --cuda --cuda-arch 86,89           # for RTX 30 and RTX 40
  llorch-bk build --ref master --cpu native --tag llama:edge
  llorch-bk build --source ~/src/llama.cpp           # a working tree, with its local changes
  llorch-bk build --push --tag registry.example.com/llama:edge --platform linux/amd64,linux/arm64
  llorch-bk build --offline --source ~/src/llama.cpp # a patched tree, everything else from a bundle
  llorch-bk build --push --tag registry.example.com/llama:edge --builder unix:///run/buildkit/buildkitd.sock`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keep, err := outputFile(metadata, "--metadata-file")
			if err != nil {
				return err
			}
			if keep != nil {
				defer keep.Cleanup() //nolint:errcheck // does nothing after the rename; before it, the first error counts
			}
			opt := flags.options(cmd)
			opt.Output = output
			opt.Output.Attest = output.Attest && (output.Push || archive != "")
			if output.Push && archive != "" {
				return fault.New(fault.Usage, "--push and --output cannot be used together", nil, "remove one of them")
			}
			if output.Push && len(opt.Request.Tags) == 0 {
				return fault.New(fault.Usage, "--push needs a --tag that names a registry", nil, "add one, as in: --tag registry.example.com/llama:edge")
			}
			if cmd.Flags().Changed("attest") && output.Attest && !output.Push && archive == "" {
				return fault.New(fault.Usage, "--attest needs --push or --output", errors.New("a Docker engine stores no attestations"), "add one of them, or remove --attest")
			}
			if opt.Sign.Key != "" && !output.Push {
				return fault.New(fault.Usage, "--sign needs --push", errors.New("only an image in a registry can be signed"), "add --push, and a --tag that names a registry")
			}
			file, err := outputFile(archive, "--output")
			if err != nil {
				return err
			}
			if file != nil {
				defer file.Cleanup() //nolint:errcheck // as above
				opt.Output.Archive = kept{file}
			}
			built, err := a.Build(cmd.Context(), opt)
			if err == nil && file != nil {
				err = file.CloseAtomicallyReplace()
			}
			if err != nil {
				return err
			}
			if err := writeMetadata(keep, built); err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.Out, built)
			}
			switch {
			case output.Push:
				for _, tag := range built.Tags {
					fmt.Fprintf(a.Out, "pushed %s@%s\n", tag, built.Digest)
				}
				for _, s := range built.Signatures {
					fmt.Fprintf(a.Out, "signed %s\n", s.Image)
				}
			case archive != "":
				fmt.Fprintf(a.Out, "wrote %s, %s\n", archive, built.Digest)
			default:
				fmt.Fprintf(a.Out, "built %s\n", built)
			}
			ran, cached := built.Compiled()
			if len(ran) > 0 {
				fmt.Fprintf(a.Out, "  compiled  %s\n", strings.Join(ran, ", "))
			}
			if len(cached) > 0 {
				fmt.Fprintf(a.Out, "  cached    %s\n", strings.Join(cached, ", "))
			}
			if text := built.CompilerCache(); text != "" {
				fmt.Fprintf(a.Out, "  objects   %s\n", text)
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
	flags.addLocked(cmd)
	flags.addKept(cmd)
	flags.addOffline(cmd)
	cmd.Flags().BoolVar(&output.Push, "push", false, "push the image to its tags' registries, with the login of docker login, instead of loading it into the engine")
	cmd.Flags().StringSliceVar(&output.Insecure, "insecure-registry", nil, "`registry` that --push may use without TLS (repeatable)")
	cmd.Flags().BoolVar(&output.Attest, "attest", true, "with --push or --output: add an SPDX SBOM, a manifest of GPU and CPU code, and SLSA provenance")
	flags.addSign(cmd, "with --push: sign the image")
	cmd.Flags().StringVar(&archive, "output", "", "write the image to this `file`, an archive of an OCI layout, instead of loading it into the engine")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	cmd.Flags().StringVar(&metadata, "metadata-file", "", "write the result to this `file` as JSON: digest, tags, steps with their times, plan")
	return cmd
}

// kept is a file that the command itself closes, after the whole build succeeded.
type kept struct{ io.Writer }

func (kept) Close() error { return nil }

// outputFile creates a file before anything is built, so that a path that cannot be
// written fails early. Without a path it returns nil.
func outputFile(path, flag string) (*renameio.PendingFile, error) {
	if path == "" {
		return nil, nil
	}
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o644))
	if err != nil {
		return nil, fault.New(fault.Usage, "cannot write the file "+path, err, "name a file in a writable folder with "+flag)
	}
	return f, nil
}

// writeMetadata writes the metadata and moves the file into place.
func writeMetadata(f *renameio.PendingFile, built app.Built) error {
	if f == nil {
		return nil
	}
	err := printJSON(f, built)
	if err == nil {
		err = f.CloseAtomicallyReplace()
	}
	if err != nil {
		return fmt.Errorf("the image was built, but its metadata could not be written: %w", err)
	}
	return nil
}
