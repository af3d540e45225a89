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

// Verifier verifies signatures of one key or identity.
type Verifier struct {
	verifier *verify.Verifier
	policy   verify.PolicyOption
	// who describes the key or identity for a person.
	who string
}

// Signed is a statement whose signature is valid.
type Signed struct {
	attest.Statement
	// By says who signed it: a key by its hint, or an identity and its issuer.
	By string
}

// TrustKey accepts signatures of a public key in PEM. A signature has no proven time, so
// the key never expires.
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
	// Use this key, whatever hint a bundle has.
	trusted := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(key, time.Time{}, time.Time{}), nil
	})
	v, err := verify.NewVerifier(trusted, verify.WithNoObserverTimestamps())
	return &Verifier{v, verify.WithKey(), "key " + string(hint)}, err
}

// TrustIdentity accepts signatures of an identity that an issuer of OpenID Connect confirmed.
// The certificate must come from an authority in a trusted root (sigstore's JSON), and the
// signature must be in one of the root's transparency logs. If the root has certificate logs,
// the certificate must be in one of them.
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

// Verify verifies a bundle: its signature, and that its only subject is the artifact with
// this sha256, in hex.
func (v *Verifier) Verify(data []byte, sha256 string) (Signed, error) {
	var b bundle.Bundle
	if err := b.UnmarshalJSON(data); err != nil {
		return Signed{}, fmt.Errorf("it is not a sigstore bundle: %w", err)
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

// statementOf parses the statement in a bundle. It does not verify the signature.
func statementOf(b *bundle.Bundle) (attest.Statement, error) {
	content, err := b.SignatureContent()
	if err != nil {
		return attest.Statement{}, err
	}
	envelope := content.EnvelopeContent()
	if envelope == nil {
		return attest.Statement{}, errors.New("it signs bytes instead of a statement")
	}
	if kind := envelope.RawEnvelope().PayloadType; kind != payloadType {
		return attest.Statement{}, fmt.Errorf("it signs %s instead of a statement", kind)
	}
	payload, err := envelope.RawEnvelope().DecodeB64Payload()
	if err != nil {
		return attest.Statement{}, err
	}
	return attest.ParseStatement(payload)
}
