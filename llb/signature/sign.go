// Package signature signs statements about images, stores them beside the images in
// registries, and verifies those that it finds there. The formats are sigstore's: a bundle
// with a signed in-toto statement, in an artifact that refers to the image.
package signature

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/llorch/llorch-bk/llb/attest"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"
)

// Predicate types of signed statements.
const (
	// PredicateSign is cosign's type for a plain signature. It states only its subject.
	PredicateSign = "https://sigstore.dev/cosign/sign/v1"
	// PredicateRebuilt is this project's type for Rebuilt.
	PredicateRebuilt = "https://github.com/llorch/llorch-bk/predicates/rebuilt/v1"
)

// payloadType is the type of an in-toto statement in a signed envelope.
const payloadType = "application/vnd.in-toto+json"

// Rebuilt states that somebody rebuilt an image from its lock and got the same manifest.
type Rebuilt struct {
	// Manifest is the digest from both builds, LockSHA256 the lock's.
	Manifest   string `json:"manifest"`
	LockSHA256 string `json:"lock_sha256"`
	Platform   string `json:"platform"`
	// Tool is the program that rebuilt it: llorch-bk and its version.
	Tool string `json:"tool"`
	// At is the time of the rebuild.
	At time.Time `json:"at"`
}

// Statement makes a statement about the artifact with this sha256, in hex. predicate is
// encoded as JSON.
func Statement(kind, sha256 string, predicate any) (attest.Statement, error) {
	data, err := json.Marshal(predicate)
	return attest.Statement{
		Type: attest.StatementV1, PredicateType: kind, Predicate: data,
		Subject: []attest.Subject{{Digest: map[string]string{"sha256": sha256}}},
	}, err
}

// Signer signs statements.
type Signer struct {
	// pair returns the key. A keyless signer makes a new one for every signature.
	pair func() (sign.Keypair, error)
	with func(context.Context) (sign.BundleOptions, error)
}

// NewKeySigner signs with a private key in PEM: PKCS #8, PKCS #1, SEC 1, or one that
// cosign encrypted. password is called if the key needs one.
func NewKeySigner(pem []byte, password func() ([]byte, error)) (*Signer, error) {
	pair, err := loadKey(pem, password)
	if err != nil {
		return nil, err
	}
	return &Signer{
		pair: func() (sign.Keypair, error) { return pair, nil },
		with: func(context.Context) (sign.BundleOptions, error) { return sign.BundleOptions{}, nil },
	}, nil
}

// Sign signs a statement and returns sigstore's bundle as JSON.
func (s *Signer) Sign(ctx context.Context, st attest.Statement) ([]byte, error) {
	data, err := json.Marshal(st)
	if err != nil {
		return nil, err
	}
	pair, err := s.pair()
	if err != nil {
		return nil, err
	}
	opt, err := s.with(ctx)
	if err != nil {
		return nil, err
	}
	opt.Context = ctx
	bundle, err := sign.Bundle(&sign.DSSEData{Data: data, PayloadType: payloadType}, pair, opt)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return protojson.Marshal(bundle)
}
