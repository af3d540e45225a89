package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/llorch/llorch-bk/fixtures/published"
	"github.com/llorch/llorch-bk/fixtures/sigstore"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// keyFiles are a private key that is encrypted as cosign does it, and its public half.
func keyFiles(t *testing.T, password string) (private, public string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := cryptoutils.MarshalPrivateKeyToEncryptedDER(key, func(bool) ([]byte, error) { return []byte(password), nil })
	if err != nil {
		t.Fatal(err)
	}
	pub, err := cryptoutils.MarshalPublicKeyToPEM(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "cosign.key", cryptoutils.PEMEncode(cryptoutils.EncryptedSigstorePrivateKeyPEMType, der)), write(t, "cosign.pub", pub)
}

func asks(t *testing.T) []remote.Option {
	t.Helper()
	asking, err := quiet(nil).asking(t.Context(), BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return asking
}

// An image is signed where it was pushed to, and who asks for a signature gets no other.
func TestSigned(t *testing.T) {
	t.Parallel()
	private, public := keyFiles(t, "secret")
	_, stranger := keyFiles(t, "")
	image, unsigned := pushImage(t, published.Good(t)), pushImage(t, published.Good(t))
	a := quiet(map[string]string{"COSIGN_PASSWORD": "secret"})
	signer, err := a.signer(SignOptions{Key: private})
	if err != nil {
		t.Fatal(err)
	}
	done, err := signPushed(t.Context(), signer, []string{image.tag, strings.TrimSuffix(image.tag, "x") + "second"}, image.digest, nil, asks(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(done) != 1 || !strings.HasSuffix(done[0].Image, "/llama@"+image.digest) {
		t.Errorf("signed %+v, want once in the one repository", done)
	}

	opt := checkOnly(image.tag)
	v, err := a.Verify(t.Context(), opt)
	if err != nil || v.Unchecked != 1 {
		t.Errorf("%d not checked, want 1 (%v)", v.Unchecked, err)
	}
	opt.Trust.Key = public
	v, err = a.Verify(t.Context(), opt)
	if err != nil || !slices.Contains(whats(v), "signature") {
		t.Errorf("checked %v: %v", whats(v), err)
	}
	opt.Image = unsigned.tag
	_, err = a.Verify(t.Context(), opt)
	wantFault(t, err, fault.Build, "is not signed by key", "it has no signature")
	opt.Image, opt.Trust.Key = image.tag, stranger
	_, err = a.Verify(t.Context(), opt)
	wantFault(t, err, fault.Build, "is not signed by key")
}

// That an image was rebuilt is no signature of it, but what its signer says of it counts.
func TestAttested(t *testing.T) {
	t.Parallel()
	private, public := keyFiles(t, "")
	image := pushImage(t, published.Good(t))
	a := quiet(nil)
	opt := checkOnly(image.tag)
	opt.Trust.Key, opt.Locked, opt.Tool = public, write(t, "llorch.lock", []byte("{}")), "llorch-bk test"
	signer, err := a.signer(SignOptions{Key: private})
	if err != nil {
		t.Fatal(err)
	}
	img, err := openImage(image.tag, t.TempDir(), opt, asks(t))
	if err != nil {
		t.Fatal(err)
	}
	done, err := attestRebuilt(t.Context(), img, signer, opt, asks(t))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(done.Image, "@"+image.manifest) {
		t.Errorf("it is beside %s, want the platform's manifest %s", done.Image, image.manifest)
	}
	opt.Locked = ""
	_, err = a.Verify(t.Context(), opt)
	wantFault(t, err, fault.Build, "is not signed by")
	if _, err := signPushed(t.Context(), signer, []string{image.tag}, image.digest, nil, asks(t)); err != nil {
		t.Fatal(err)
	}
	v, err := a.Verify(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	last := v.Checks[len(v.Checks)-1]
	if last.What != "rebuilt" || !strings.Contains(last.Holds, "llorch-bk test") {
		t.Errorf("%+v", last)
	}
}

// GitHub gives a job a token for its own identity; GitLab puts one into the environment.
func TestKeylessSigned(t *testing.T) {
	t.Parallel()
	const me = "ci@example.org"
	s := sigstore.Start(t)
	github := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("audience") != "sigstore" || r.URL.Query().Get("job") != "1" || r.Header.Get("Authorization") != "Bearer request" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"value": s.Token(me)})
	}))
	t.Cleanup(github.Close)
	root := write(t, "trusted_root.json", s.Root)
	for name, c := range map[string]struct {
		env  map[string]string
		file string
	}{
		"GitLab":      {map[string]string{"SIGSTORE_ID_TOKEN": s.Token(me)}, ""},
		"GitHub":      {map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": github.URL + "?job=1", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request"}, ""},
		"from a file": {nil, write(t, "token", []byte(s.Token(me)+"\n"))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image := pushImage(t, published.Good(t))
			a := quiet(c.env)
			signer, err := a.signer(SignOptions{Key: Keyless, TokenFile: c.file, Fulcio: s.Fulcio, Rekor: s.Rekor})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := signPushed(t.Context(), signer, []string{image.tag}, image.digest, nil, asks(t)); err != nil {
				t.Fatal(err)
			}
			opt := checkOnly(image.tag)
			opt.Trust = TrustOptions{Identity: me, Issuer: sigstore.Issuer, Root: root}
			v, err := a.Verify(t.Context(), opt)
			if err != nil || !slices.Contains(whats(v), "signature") {
				t.Errorf("checked %v: %v", whats(v), err)
			}
			opt.Trust.Identity = "you@example.org"
			_, err = a.Verify(t.Context(), opt)
			wantFault(t, err, fault.Build, "is not signed by you@example.org")
		})
	}
	denied := quiet(map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": github.URL, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request"})
	if _, err := denied.identityToken(t.Context(), SignOptions{}); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("got %v", err)
	}
}

// What cannot be signed or trusted is said before anything is built.
func TestSignOptions(t *testing.T) {
	t.Parallel()
	private, public := keyFiles(t, "secret")
	image := pushImage(t, published.Good(t)).tag
	password := write(t, "password", []byte("secret\n"))
	if _, err := quiet(nil).signer(SignOptions{Key: private, PasswordFile: password}); err != nil {
		t.Error(err)
	}
	for name, o := range map[string]SignOptions{
		"no password": {Key: private}, "no file": {Key: "nowhere"}, "no private key": {Key: public},
		"no password file": {Key: private, PasswordFile: "nowhere"}, "nobody": {Key: Keyless},
	} {
		_, err := quiet(nil).Build(t.Context(), BuildOptions{Sign: o})
		if err == nil || fault.ClassOf(err) != fault.Usage {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the password is in %v", name, err)
		}
	}
	for name, c := range map[string]struct {
		change func(*VerifyOptions)
		want   string
	}{
		"two to trust":       {func(o *VerifyOptions) { o.Trust = TrustOptions{Key: public, Identity: "x"} }, "cannot be used together"},
		"half an identity":   {func(o *VerifyOptions) { o.Trust = TrustOptions{Identity: "x"} }, "are needed together"},
		"no key":             {func(o *VerifyOptions) { o.Trust.Key = "nowhere" }, "name a PEM public key with --key"},
		"a private key":      {func(o *VerifyOptions) { o.Trust.Key = private }, "name a PEM public key with --key"},
		"no root":            {func(o *VerifyOptions) { o.Trust = TrustOptions{Identity: "x", Issuer: "y", Root: public} }, "--trusted-root"},
		"no registry":        {func(o *VerifyOptions) { o.Trust.Key, o.Image = public, public }, "only an image in a registry has signatures"},
		"nobody attests":     {func(o *VerifyOptions) { o.Attest, o.NoRebuild = true, false }, "--sign FILE"},
		"nothing to attest":  {func(o *VerifyOptions) { o.Attest, o.Sign.Key = true, private }, "--attest and --no-rebuild"},
		"no lock to rebuild": {func(o *VerifyOptions) { o.NoRebuild = false }, "has no lock inside"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opt := checkOnly(image)
			c.change(&opt)
			_, err := quiet(nil).Verify(t.Context(), opt)
			wantFault(t, err, fault.Usage, c.want)
		})
	}
}
