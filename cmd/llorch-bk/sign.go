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
	fs.StringVar(&f.sign.Key, "sign", "", what+" by a private `key` in a PEM file (cosign's too), or "+app.Keyless+" by an identity of OpenID Connect")
	fs.StringVar(&f.sign.PasswordFile, "sign-password-file", "", "`file` with the password of the key (default what COSIGN_PASSWORD says)")
	fs.StringVar(&f.sign.TokenFile, "identity-token-file", "", "`file` with the token for --sign "+app.Keyless+" (default SIGSTORE_ID_TOKEN, or the one that GitHub gives a job)")
	fs.StringVar(&f.sign.Fulcio, "fulcio-url", signature.PublicFulcio, "`address` of the Fulcio that issues certificates for --sign "+app.Keyless)
	fs.StringVar(&f.sign.Rekor, "rekor-url", signature.PublicRekor, "`address` of the Rekor whose log has signatures of --sign "+app.Keyless)
}

// addTrust declares the flags that say whose signature an image must have.
func addTrust(cmd *cobra.Command, t *app.TrustOptions) {
	fs := cmd.Flags()
	fs.StringVar(&t.Key, "key", "", "refuse an image that is not signed by this public key, a PEM `file`")
	fs.StringVar(&t.Identity, "identity", "", "refuse an image that is not signed by this `identity`, with --issuer and --trusted-root")
	fs.StringVar(&t.Issuer, "issuer", "", "`URL` of who vouches for the identity")
	fs.StringVar(&t.Root, "trusted-root", "", "`file` with the authorities and logs that count, sigstore's trusted_root.json")
}
