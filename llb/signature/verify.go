package signature

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/llorch/llorch-bk/llb/attest"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

// Verifier checks what somebody signed.
type Verifier struct {
	verifier *verify.Verifier
	policy   verify.PolicyOption
	// who is whose signatures it takes, for a person.
	who string
}

// Signed is a statement whose signature holds.
type Signed struct {
	attest.Statement
	// By says who signed it: a key by its hint, or an identity and who vouches for it.
	By string
}

// TrustKey takes signatures of a public key in PEM. Nobody says when they were made, so
// that a key counts for ever.
func TrustKey(pem []byte) (*Verifier, error) {
	public, err := cryptoutils.UnmarshalPEMToPublicKey(pem)
	if err != nil {
		return nil, err
	}
	key, err := signature.LoadDefaultVerifier(public)
	if err != nil {
		return nil, err
	}
	hint, err := keyHint(public)
	if err != nil {
		return nil, err
	}
	// Whatever a bundle calls its key, it is checked with this one.
	trusted := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(key, time.Time{}, time.Time{}), nil
	})
	v, err := verify.NewVerifier(trusted, verify.WithNoObserverTimestamps())
	return &Verifier{v, verify.WithKey(), "key " + string(hint)}, err
}

// TrustIdentity takes signatures of an identity that an issuer of OpenID Connect vouched
// for: certificates of the authorities in a trusted root (sigstore's JSON), whose
// signature is in one of its transparency logs. Where the root names certificate logs,
// the certificate has to be in one too.
func TrustIdentity(trustedRoot []byte, identity, issuer string) (*Verifier, error) {
	trusted, err := root.NewTrustedRootFromJSON(trustedRoot)
	if err != nil {
		return nil, fmt.Errorf("the trusted root: %w", err)
	}
	who, err := verify.NewShortCertificateIdentity(issuer, "", identity, "")
	if err != nil {
		return nil, err
	}
	options := []verify.VerifierOption{verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1)}
	if len(trusted.CTLogs()) > 0 {
		options = append(options, verify.WithSignedCertificateTimestamps(1))
	}
	v, err := verify.NewVerifier(trusted, options...)
	return &Verifier{v, verify.WithCertificateIdentity(who), identity + " (" + issuer + ")"}, err
}

func (v *Verifier) String() string { return v.who }

// Verify checks a bundle: the signature, and that it is about the artifact with this
// sha256, in hex, and nothing else.
func (v *Verifier) Verify(data []byte, sha256 string) (Signed, error) {
	var b bundle.Bundle
	if err := b.UnmarshalJSON(data); err != nil {
		return Signed{}, fmt.Errorf("it is not a bundle of sigstore's: %w", err)
	}
	digest, err := hex.DecodeString(sha256)
	if err != nil {
		return Signed{}, err
	}
	if _, err := v.verifier.Verify(&b, verify.NewPolicy(verify.WithArtifactDigest("sha256", digest), v.policy)); err != nil {
		return Signed{}, err
	}
	st, err := statementOf(&b)
	if err != nil {
		return Signed{}, err
	}
	return Signed{st, v.who}, st.About(sha256)
}

// statementOf is the statement in a bundle, whether its signature holds or not.
func statementOf(b *bundle.Bundle) (attest.Statement, error) {
	content, err := b.SignatureContent()
	if err != nil {
		return attest.Statement{}, err
	}
	envelope := content.EnvelopeContent()
	if envelope == nil {
		return attest.Statement{}, errors.New("it signs bytes, and no statement")
	}
	if kind := envelope.RawEnvelope().PayloadType; kind != payloadType {
		return attest.Statement{}, fmt.Errorf("it signs %s, and no statement", kind)
	}
	payload, err := envelope.RawEnvelope().DecodeB64Payload()
	if err != nil {
		return attest.Statement{}, err
	}
	return attest.ParseStatement(payload)
}
