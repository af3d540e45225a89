package main

import (
	"fmt"
	"io"

	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/cmd/internal/settings"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/spf13/cobra"
)

// shown is how many differences are printed; the JSON has all of them.
const shown = 20

func verifyCommand(a *app.App) *cobra.Command {
	var flags buildFlags
	var opt app.VerifyOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify [IMAGE]",
		Short: "Check an image, rebuild it from its lock, and compare byte for byte",
		Long: `Verify checks the digest of every blob, and checks every attestation in the image's
index (SBOM, provenance, device code) against the image's files and its lock. It then
rebuilds the image from the lock on an empty builder and compares the platform
manifests. The image is in a registry, or in an archive that build --output wrote.
The lock is the one in the image, unless --locked names another. Without an image,
verify builds the lock twice. If the images differ, it lists every differing layer
and file and keeps both images.

With --key or --identity, verify refuses an image that they did not sign, and checks
their other statements about it. It reads cosign's signatures (bundle format).
--attest --sign pushes a signed statement that the rebuilt image is identical.`,
		Example: `  llorch-bk verify registry.example.com/llama:edge
  llorch-bk verify --key cosign.pub registry.example.com/llama:edge
  llorch-bk verify --attest --sign cosign.key registry.example.com/llama:edge
  llorch-bk verify --no-rebuild image.tar            # checks only
  llorch-bk verify --locked                          # llorch.lock, built twice
  llorch-bk verify --locked=other.lock image.tar`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.BuildOptions = flags.options(cmd)
			opt.Output.Insecure = flags.insecure
			if err := onePlatform(cmd, opt.BuildOptions); err != nil {
				return err
			}
			opt.Tool = "llorch-bk " + readVersion().Version
			if len(args) > 0 {
				opt.Image = args[0]
			} else if opt.Locked == "" || opt.NoRebuild {
				return fault.New(fault.Usage, "no image is named", nil, "name an image, or a lock to build twice: llorch-bk verify --locked")
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
				printVerified(a.Out, done)
			}
			if done.Same == nil || *done.Same {
				return nil
			}
			return fault.New(fault.Build, "the rebuilt image differs from the image", nil, "compare the two; both are kept in "+opt.Keep)
		},
	}
	flags.addBuilder(cmd)
	flags.addLocked(cmd)
	flags.addSign(cmd, "with --attest: sign the statement")
	addTrust(cmd, &opt.Trust)
	cmd.Flags().BoolVar(&opt.Attest, "attest", false, "if the rebuilt image is identical, push a statement that says so, signed with --sign")
	settings.OnlyTyped(cmd, "attest") // In the environment and in files it belongs to build.
	flags.addKept(cmd)
	cmd.Flags().StringSliceVar(&flags.insecure, "insecure-registry", nil, "`registry` that may be used without TLS (repeatable)")
	cmd.Flags().BoolVar(&opt.NoRebuild, "no-rebuild", false, "only check layers, attestations and signatures; needs no builder")
	cmd.Flags().StringVar(&opt.Keep, "keep", "llorch-verify", "keep both images in this `folder` if they differ")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// printVerified prints one line for each check, and then the differences.
func printVerified(w io.Writer, v app.Verification) {
	for _, c := range v.Checks {
		fmt.Fprintf(w, "checked  %s\n", c)
	}
	if v.Unchecked > 0 {
		fmt.Fprintf(w, "not checked  %d signed statements: name the signer with --key or --identity\n", v.Unchecked)
	}
	fmt.Fprintf(w, "image    %s\n", v.Image)
	if v.Same == nil {
		return
	}
	fmt.Fprintf(w, "rebuilt  %s\n", v.Rebuilt)
	if v.Attested != nil {
		fmt.Fprintf(w, "attested %s\n", v.Attested.Image)
	}
	for i, d := range v.Differences {
		if i == shown {
			fmt.Fprintf(w, "  and %d more\n", len(v.Differences)-shown)
			break
		}
		fmt.Fprintf(w, "  %s\n", d)
	}
}
