package main

import (
	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/llb/signature"
	"github.com/spf13/cobra"
)

// addSign declares the flags for signing. what says what --sign signs in this command.
func (f *buildFlags) addSign(cmd *cobra.Command, what string) {
	fs := cmd.Flags()
	fs.StringVar(&f.sign.Key, "sign", "", what+" with this private `key`, a PEM file (cosign's format works too), or "+app.Keyless+" for an OpenID Connect identity")
	fs.StringVar(&f.sign.PasswordFile, "sign-password-file", "", "read the key's password from this `file` (default: the variable COSIGN_PASSWORD)")
	fs.StringVar(&f.sign.TokenFile, "identity-token-file", "", "read the token for --sign "+app.Keyless+" from this `file` (default: the variable SIGSTORE_ID_TOKEN, or the GitHub job's token)")
	fs.StringVar(&f.sign.Fulcio, "fulcio-url", signature.PublicFulcio, "request certificates for --sign "+app.Keyless+" from the Fulcio at this `URL`")
	fs.StringVar(&f.sign.Rekor, "rekor-url", signature.PublicRekor, "log signatures of --sign "+app.Keyless+" in the Rekor at this `URL`")
}

// addTrust declares the flags that name the trusted signer of an image.
func addTrust(cmd *cobra.Command, t *app.TrustOptions) {
	fs := cmd.Flags()
	fs.StringVar(&t.Key, "key", "", "refuse images that are not signed with this public key, a PEM `file`")
	fs.StringVar(&t.Identity, "identity", "", "refuse images that are not signed by this OpenID Connect `identity`; needs --issuer and --trusted-root")
	fs.StringVar(&t.Issuer, "issuer", "", "accept the identity only from the issuer at this `URL`")
	fs.StringVar(&t.Root, "trusted-root", "", "trust the authorities and logs in this `file` (sigstore's trusted_root.json)")
}
