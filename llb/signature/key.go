package signature

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

// keypair is a user's own key in the form in which sigstore-go signs. sigstore-go itself has
// only keypairs for one signature.
type keypair struct {
	signer  crypto.Signer
	details signature.AlgorithmDetails
	hint    []byte
	pem     string
}

// loadKey reads a private key in PEM: PKCS #8, PKCS #1, SEC 1, or one that cosign
// encrypted. password is called if the key needs one.
func loadKey(pem []byte, password func() ([]byte, error)) (*keypair, error) {
	private, err := cryptoutils.UnmarshalPEMToPrivateKey(pem, func(bool) ([]byte, error) { return password() })
	if err != nil {
		return nil, err
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", private)
	}
	return newKeypair(signer)
}

func newKeypair(signer crypto.Signer) (*keypair, error) {
	details, err := signature.GetDefaultAlgorithmDetails(signer.Public())
	if err != nil {
		return nil, err
	}
	public, err := cryptoutils.MarshalPublicKeyToPEM(signer.Public())
	if err != nil {
		return nil, err
	}
	hint, err := keyHint(signer.Public())
	if err != nil {
		return nil, err
	}
	return &keypair{signer, details, hint, string(public)}, nil
}

// keyHint identifies a public key in a bundle, as cosign and sigstore-go do.
func keyHint(public crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	return []byte(base64.StdEncoding.EncodeToString(sum[:])), nil
}

func (k *keypair) GetHashAlgorithm() protocommon.HashAlgorithm { return k.details.GetProtoHashType() }

func (k *keypair) GetSigningAlgorithm() protocommon.PublicKeyDetails {
	return k.details.GetSignatureAlgorithm()
}

func (k *keypair) GetHint() []byte                  { return k.hint }
func (k *keypair) GetPublicKey() crypto.PublicKey   { return k.signer.Public() }
func (k *keypair) GetPublicKeyPem() (string, error) { return k.pem, nil }

func (k *keypair) GetKeyAlgorithm() string {
	switch k.details.GetKeyType() {
	case signature.ECDSA:
		return "ECDSA"
	case signature.RSA:
		return "RSA"
	case signature.ED25519:
		return "ED25519"
	}
	return ""
}

// SignData returns a signature and what was signed: a digest, except for Ed25519.
func (k *keypair) SignData(_ context.Context, data []byte) (sig, signed []byte, err error) {
	hash := k.details.GetHashType()
	if hash != 0 {
		if !hash.Available() {
			return nil, nil, errors.New("unsupported hash " + hash.String())
		}
		h := hash.New()
		h.Write(data)
		data = h.Sum(nil)
	}
	sig, err = k.signer.Sign(rand.Reader, data, hash)
	return sig, data, err
}
