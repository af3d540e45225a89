package signature

import (
	"context"

	"github.com/sigstore/sigstore-go/pkg/sign"
)

// Addresses of sigstore's public services.
const (
	PublicFulcio = "https://fulcio.sigstore.dev"
	PublicRekor  = "https://rekor.sigstore.dev"
)

// Keyless is how to sign with no key of one's own: a key that is thrown away, a
// certificate for it from Fulcio to whom a token of OpenID Connect names, and an entry in
// Rekor's log, which says when.
type Keyless struct {
	// Fulcio and Rekor are addresses of services that speak Fulcio's API v2 and Rekor's v1.
	Fulcio, Rekor string
	// Token gets the token for a signature. They live for minutes, so that it is asked
	// when there is something to sign.
	Token func(context.Context) (string, error)
}

// NewKeylessSigner signs without a key of one's own.
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
