package main

import (
	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/llb/signature"
	"github.com/spf13/cobra"
)

// addSign declares the flags that say by whom something is signed. what is what --sign
// signs.
func (f *buildFlags) addSign(cmd *cobra.Command, what string) {
	fs := cmd.Flags()
	fs.StringVar(&f.sign.Key, "sign", "", what+" with this private `key`, a PEM file (also cosign's); or "+app.Keyless+", with an OpenID Connect identity")
	fs.StringVar(&f.sign.PasswordFile, "sign-password-file", "", "`file` with the key's password (default: the variable COSIGN_PASSWORD)")
	fs.StringVar(&f.sign.TokenFile, "identity-token-file", "", "`file` with the token for --sign "+app.Keyless+" (default: the variable SIGSTORE_ID_TOKEN, or GitHub's token for the job)")
	fs.StringVar(&f.sign.Fulcio, "fulcio-url", signature.PublicFulcio, "`URL` of the Fulcio that issues certificates for --sign "+app.Keyless)
	fs.StringVar(&f.sign.Rekor, "rekor-url", signature.PublicRekor, "`URL` of the Rekor that logs signatures of --sign "+app.Keyless)
}

// addTrust declares the flags that say whose signature an image must have.
func addTrust(cmd *cobra.Command, t *app.TrustOptions) {
	fs := cmd.Flags()
	fs.StringVar(&t.Key, "key", "", "refuse images that this public key, a PEM `file`, did not sign")
	fs.StringVar(&t.Identity, "identity", "", "refuse images that this OpenID Connect `identity` did not sign; needs --issuer and --trusted-root")
	fs.StringVar(&t.Issuer, "issuer", "", "`URL` of the identity's issuer")
	fs.StringVar(&t.Root, "trusted-root", "", "`file` with the trusted authorities and logs (sigstore's trusted_root.json)")
}
