package app

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/llorch/llorch-bk/fixtures/published"
	"github.com/llorch/llorch-bk/fixtures/sigstore"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/buildkit"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// in is an image in a registry of the test's own.
type in struct {
	tag, digest string
	// manifest is the platform's.
	manifest string
	blobs    *spoilt
}

// spoilt is a store whose blobs somebody can change behind the registry's back.
type spoilt struct {
	registry.BlobHandler
	changed map[string][]byte
}

func (s *spoilt) Get(ctx context.Context, repo string, h v1.Hash) (io.ReadCloser, error) {
	if data, ok := s.changed[h.String()]; ok {
		return io.NopCloser(strings.NewReader(string(data))), nil
	}
	return s.BlobHandler.Get(ctx, repo, h)
}

func (s *spoilt) Put(ctx context.Context, repo string, h v1.Hash, r io.ReadCloser) error {
	return s.BlobHandler.(registry.BlobPutHandler).Put(ctx, repo, h, r)
}

func pushImage(t *testing.T, p *published.Image) in {
	t.Helper()
	blobs := &spoilt{registry.NewInMemoryBlobHandler(), map[string][]byte{}}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true), registry.WithBlobHandler(blobs)))
	t.Cleanup(server.Close)
	tag, err := name.NewTag(strings.TrimPrefix(server.URL, "http://") + "/llama:x")
	if err != nil {
		t.Fatal(err)
	}
	index := p.Index(t)
	if err := remote.WriteIndex(tag, index); err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := p.Written.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return in{tag.String(), digest.String(), manifest.String(), blobs}
}

func quiet(env map[string]string) *App {
	return &App{Out: io.Discard, Err: io.Discard, Progress: "quiet", Getenv: func(name string) string {
		if name == "DOCKER_HOST" {
			return "unix:///nonexistent/docker.sock"
		}
		return env[name]
	}}
}

func checkOnly(image string) VerifyOptions {
	return VerifyOptions{Image: image, NoRebuild: true, BuildOptions: BuildOptions{Request: images.Request{Platform: "linux/amd64"}, Builder: buildkit.Auto}}
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

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

func whats(v Verification) []string {
	var out []string
	for _, c := range v.Checks {
		out = append(out, strings.TrimSpace(c.What+" "+c.Name))
	}
	return out
}

func TestVerifyChecks(t *testing.T) {
	t.Parallel()
	image := pushImage(t, published.Good(t))
	v, err := quiet(nil).Verify(t.Context(), checkOnly(image.tag))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(whats(v), ", "); got != "manifest, config, layer packages, layer app, SBOM, device code, provenance" {
		t.Errorf("checked %s", got)
	}
	if v.Image != image.manifest || v.Same != nil || v.Rebuilt != "" || v.Unchecked != 0 {
		t.Errorf("%+v", v)
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	spoiltLayer := pushImage(t, published.Good(t))
	other := published.Good(t)
	other.Subject = strings.Repeat("2", 64)
	layers, err := published.Good(t).Layers(t)
	if err != nil {
		t.Fatal(err)
	}
	spoiltLayer.blobs.changed[layers[1].Digest.String()] = make([]byte, layers[1].Size)
	for name, c := range map[string]struct {
		image string
		class fault.Class
		want  []string
	}{
		"a changed layer":           {spoiltLayer.tag, fault.Build, []string{"is not what it says", "layer app (" + layers[1].Digest.String()}},
		"another image's statement": {pushImage(t, other).tag, fault.Build, []string{"is not what it says", "SBOM (", "its subject is"}},
		"no registry":               {"127.0.0.1:1/llama:x", fault.Machine, []string{"cannot be had"}},
		"no image":                  {strings.TrimSuffix(spoiltLayer.tag, "x") + "y", fault.Machine, []string{"cannot be had"}},
		"no name":                   {"A B", fault.Usage, []string{"is no image and no file"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := quiet(nil).Verify(t.Context(), checkOnly(c.image))
			wantFault(t, err, c.class, c.want...)
		})
	}
	arm := checkOnly(pushImage(t, published.Good(t)).tag)
	arm.Request.Platform = "linux/arm64"
	_, err = quiet(nil).Verify(t.Context(), arm)
	wantFault(t, err, fault.Usage, "not one image for the platform linux/arm64", "--platform")
}

func wantFault(t *testing.T, err error, class fault.Class, want ...string) {
	t.Helper()
	if err == nil || fault.ClassOf(err) != class {
		t.Fatalf("got class %d: %v, want %d", fault.ClassOf(err), err, class)
	}
	for _, w := range want {
		if !strings.Contains(fault.Report(err), w) {
			t.Errorf("no %q in:\n%s", w, fault.Report(err))
		}
	}
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
	done, err := signPushed(t.Context(), signer, []string{image.tag, strings.TrimSuffix(image.tag, "x") + "second"}, image.digest, nil)
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
	wantFault(t, err, fault.Build, "is not signed by key", "no signature is beside it")
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
	img, err := openImage(t.Context(), image.tag, t.TempDir(), opt)
	if err != nil {
		t.Fatal(err)
	}
	done, err := attestRebuilt(t.Context(), img, signer, opt)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(done.Image, "@"+image.manifest) {
		t.Errorf("it is beside %s, want the platform's manifest %s", done.Image, image.manifest)
	}
	opt.Locked = ""
	_, err = a.Verify(t.Context(), opt)
	wantFault(t, err, fault.Build, "is not signed by")
	if _, err := signPushed(t.Context(), signer, []string{image.tag}, image.digest, nil); err != nil {
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
			if _, err := signPushed(t.Context(), signer, []string{image.tag}, image.digest, nil); err != nil {
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
		"two to trust":       {func(o *VerifyOptions) { o.Trust = TrustOptions{Key: public, Identity: "x"} }, "exclude each other"},
		"half an identity":   {func(o *VerifyOptions) { o.Trust = TrustOptions{Identity: "x"} }, "go together"},
		"no key":             {func(o *VerifyOptions) { o.Trust.Key = "nowhere" }, "--key has to name a public key"},
		"a private key":      {func(o *VerifyOptions) { o.Trust.Key = private }, "--key has to name a public key"},
		"no root":            {func(o *VerifyOptions) { o.Trust = TrustOptions{Identity: "x", Issuer: "y", Root: public} }, "--trusted-root"},
		"no registry":        {func(o *VerifyOptions) { o.Trust.Key, o.Image = public, public }, "beside an image in a registry"},
		"nobody attests":     {func(o *VerifyOptions) { o.Attest, o.NoRebuild = true, false }, "--sign FILE"},
		"nothing to attest":  {func(o *VerifyOptions) { o.Attest, o.Sign.Key = true, private }, "--no-rebuild exclude"},
		"no lock to rebuild": {func(o *VerifyOptions) { o.NoRebuild = false }, "does not say what it was made of"},
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
