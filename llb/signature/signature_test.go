package signature_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/llb/attest"
	"github.com/llorch/llorch-bk/llb/signature"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

var (
	image = strings.Repeat("1", 64)
	other = strings.Repeat("2", 64)
)

// newKey is a key in PEM, and its public half.
func newKey(t *testing.T, key crypto.Signer) (private, public []byte) {
	t.Helper()
	private, err := cryptoutils.MarshalPrivateKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	if public, err = cryptoutils.MarshalPublicKeyToPEM(key.Public()); err != nil {
		t.Fatal(err)
	}
	return private, public
}

func p256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func noPassword() ([]byte, error) { return nil, errors.New("nobody should ask") }

func statement(t *testing.T, about string) attest.Statement {
	t.Helper()
	s, err := signature.Statement(signature.PredicateSign, about, struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// signed is a bundle of a key.
func signed(t *testing.T, private []byte, s attest.Statement) []byte {
	t.Helper()
	signer, err := signature.NewKeySigner(private, noPassword)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := signer.Sign(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

func trust(t *testing.T, public []byte) *signature.Verifier {
	t.Helper()
	v, err := signature.TrustKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestKeys(t *testing.T) {
	t.Parallel()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsa3072, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"ECDSA P-256": p256(t), "ECDSA P-384": p384, "RSA": rsa3072, "Ed25519": ed} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			private, public := newKey(t, key)
			got, err := trust(t, public).Verify(signed(t, private, statement(t, image)), image)
			if err != nil {
				t.Fatal(err)
			}
			if got.PredicateType != signature.PredicateSign || !strings.HasPrefix(got.By, "key ") {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestKeyForms(t *testing.T) {
	t.Parallel()
	key := p256(t)
	sec1, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	_, public := newKey(t, key)
	for name, data := range map[string][]byte{
		"SEC 1":  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}),
		"cosign": encrypted(t, key, "secret"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			signer, err := signature.NewKeySigner(data, func() ([]byte, error) { return []byte("secret"), nil })
			if err != nil {
				t.Fatal(err)
			}
			bundle, err := signer.Sign(t.Context(), statement(t, image))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := trust(t, public).Verify(bundle, image); err != nil {
				t.Error(err)
			}
		})
	}
	for name, password := range map[string]func() ([]byte, error){
		"wrong password": func() ([]byte, error) { return []byte("guess"), nil },
		"no password":    noPassword,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := signature.NewKeySigner(encrypted(t, key, "secret"), password); err == nil {
				t.Error("the key was opened")
			}
		})
	}
	for name, data := range map[string]string{"no PEM": "x", "a public key": string(public)} {
		if _, err := signature.NewKeySigner([]byte(data), noPassword); err == nil {
			t.Errorf("%s: it signs", name)
		}
	}
	if _, err := signature.TrustKey(encrypted(t, key, "secret")); err == nil {
		t.Error("a private key is trusted as a public one")
	}
}

// encrypted is a key as cosign keeps it.
func encrypted(t *testing.T, key crypto.Signer, password string) []byte {
	t.Helper()
	der, err := cryptoutils.MarshalPrivateKeyToEncryptedDER(key, func(bool) ([]byte, error) { return []byte(password), nil })
	if err != nil {
		t.Fatal(err)
	}
	return cryptoutils.PEMEncode(cryptoutils.EncryptedSigstorePrivateKeyPEMType, der)
}

func TestRefused(t *testing.T) {
	t.Parallel()
	private, public := newKey(t, p256(t))
	stranger, _ := newKey(t, p256(t))
	two := statement(t, image)
	two.Subject = append(two.Subject, statement(t, other).Subject...)
	for name, bundle := range map[string][]byte{
		"of another image":             signed(t, private, statement(t, other)),
		"of this and another":          signed(t, private, two),
		"by another key":               signed(t, stranger, statement(t, image)),
		"changed after it was signed":  changed(t, signed(t, private, statement(t, other))),
		"with no signature":            edited(t, signed(t, private, statement(t, image)), func(e map[string]any) { e["signatures"] = []any{} }),
		"with another kind of payload": edited(t, signed(t, private, statement(t, image)), func(e map[string]any) { e["payloadType"] = "text/plain" }),
		"no bundle":                    []byte("{}"),
		"no JSON":                      []byte("x"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := trust(t, public).Verify(bundle, image); err == nil {
				t.Errorf("it was taken: %+v", got)
			}
		})
	}
}

// edited is a bundle whose envelope somebody edited.
func edited(t *testing.T, bundle []byte, edit func(map[string]any)) []byte {
	t.Helper()
	var b map[string]any
	if err := json.Unmarshal(bundle, &b); err != nil {
		t.Fatal(err)
	}
	edit(b["dsseEnvelope"].(map[string]any))
	out, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// changed is a bundle of which somebody made one about the image.
func changed(t *testing.T, bundle []byte) []byte {
	t.Helper()
	return edited(t, bundle, func(e map[string]any) {
		payload, err := base64.StdEncoding.DecodeString(e["payload"].(string))
		if err != nil {
			t.Fatal(err)
		}
		e["payload"] = base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(string(payload), other, image)))
	})
}
