package signature

import (
	"context"

	"github.com/sigstore/sigstore-go/pkg/sign"
)

// URLs of sigstore's public services.
const (
	PublicFulcio = "https://fulcio.sigstore.dev"
	PublicRekor  = "https://rekor.sigstore.dev"
)

// Keyless is the configuration for signing without a user's own key: a one-time key, a
// certificate from Fulcio for the identity in an OpenID Connect token, and an entry in
// Rekor's log, which proves the time.
type Keyless struct {
	// Fulcio and Rekor are URLs of services with Fulcio's API v2 and Rekor's API v1.
	Fulcio, Rekor string
	// Token gets the token for a signature. Tokens are valid for minutes, so it is called
	// only when there is something to sign.
	Token func(context.Context) (string, error)
}

// NewKeylessSigner signs without a user's own key.
func NewKeylessSigner(k Keyless) *Signer {
	return &Signer{
		pair: func() (sign.Keypair, error) { return sign.NewEphemeralKeypair(nil) },
		with: func(ctx context.Context) (sign.BundleOptions, error) {
			token, err := k.Token(ctx)
			if err != nil {
				return sign.BundleOptions{}, err
			}
			return sign.BundleOptions{
				CertificateProvider:        sign.NewFulcio(&sign.FulcioOptions{BaseURL: k.Fulcio, Retries: 2}),
				CertificateProviderOptions: &sign.CertificateProviderOptions{IDToken: token},
				TransparencyLogs:           []sign.Transparency{sign.NewRekor(&sign.RekorOptions{BaseURL: k.Rekor, Retries: 2})},
			}, nil
		},
	}
}
