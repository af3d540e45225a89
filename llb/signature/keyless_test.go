package signature_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/fixtures/sigstore"
	"github.com/llorch/llorch-bk/llb/signature"
)

const me = "ci@example.org"

func keyless(s *sigstore.Services, token string) *signature.Signer {
	return keylessAt(s.Fulcio, s.Rekor, token)
}

func keylessAt(fulcio, rekor, token string) *signature.Signer {
	return signature.NewKeylessSigner(signature.Keyless{
		Fulcio: fulcio, Rekor: rekor,
		Token: func(context.Context) (string, error) { return token, nil },
	})
}

func TestKeyless(t *testing.T) {
	t.Parallel()
	s := sigstore.Start(t)
	bundle, err := keyless(s, s.Token(me)).Sign(t.Context(), statement(t, image))
	if err != nil {
		t.Fatal(err)
	}
	if s.Issued() != 1 || s.Logged() != 1 {
		t.Errorf("%d certificates, %d entries", s.Issued(), s.Logged())
	}
	for name, c := range map[string]struct {
		root                    []byte
		bundle                  []byte
		identity, issuer, about string
		// want is why it is refused; empty where it holds.
		want string
	}{
		"good":             {s.Root, bundle, me, sigstore.Issuer, image, ""},
		"another image":    {s.Root, bundle, me, sigstore.Issuer, other, "does not match"},
		"another identity": {s.Root, bundle, "you@example.org", sigstore.Issuer, image, "identity"},
		"another issuer":   {s.Root, bundle, me, "https://example.org", image, "identity"},
		"another root":     {sigstore.Start(t).Root, bundle, me, sigstore.Issuer, image, "log"},
		"changed": {s.Root, edited(t, bundle, func(e map[string]any) {
			e["payload"] = strings.Replace(e["payload"].(string), "e", "f", 1)
		}), me, sigstore.Issuer, image, "verify"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := signature.TrustIdentity(c.root, c.identity, c.issuer)
			if err != nil {
				t.Fatal(err)
			}
			got, err := v.Verify(c.bundle, c.about)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want == "" && got.By != me+" ("+sigstore.Issuer+")":
				t.Errorf("it is by %q", got.By)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// A key that somebody trusts says nothing for a certificate, nor the other way round.
func TestKeylessAndKeys(t *testing.T) {
	t.Parallel()
	s := sigstore.Start(t)
	private, public := newKey(t, p256(t))
	byKey := signed(t, private, statement(t, image))
	byIdentity, err := keyless(s, s.Token(me)).Sign(t.Context(), statement(t, image))
	if err != nil {
		t.Fatal(err)
	}
	v, err := signature.TrustIdentity(s.Root, me, sigstore.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(byKey, image); err == nil {
		t.Error("a key's signature is taken for an identity's")
	}
	if _, err := trust(t, public).Verify(byIdentity, image); err == nil {
		t.Error("an identity's signature is taken for a key's")
	}
}

func TestKeylessFails(t *testing.T) {
	t.Parallel()
	s, stranger := sigstore.Start(t), sigstore.Start(t)
	for name, c := range map[string]struct{ rekor, token, want string }{
		"another issuer's token": {s.Rekor, stranger.Token(me), "the token is not the issuer's"},
		"no token":               {s.Rekor, "x", "identity token"},
		"no log":                 {"http://127.0.0.1:1", s.Token(me), "127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := keylessAt(s.Fulcio, c.rekor, c.token).Sign(t.Context(), statement(t, image)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	none := signature.NewKeylessSigner(signature.Keyless{Token: func(context.Context) (string, error) { return "", errors.New("nobody is here") }})
	if _, err := none.Sign(t.Context(), statement(t, image)); err == nil || !strings.Contains(err.Error(), "nobody is here") {
		t.Errorf("got %v", err)
	}
}
