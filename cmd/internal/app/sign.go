package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/attest"
	"github.com/llorch/llorch-bk/llb/signature"
)

// Keyless stands in place of a key's file: it signs with a certificate for an identity.
const Keyless = "keyless"

// SignOptions say by whom something is signed.
type SignOptions struct {
	// Key is the file of a private key in PEM, or Keyless; empty for no signature.
	Key string
	// PasswordFile has the key's password. Without it, COSIGN_PASSWORD does.
	PasswordFile string
	// TokenFile has the token of OpenID Connect for Keyless. Without it, the CI's
	// environment does.
	TokenFile string
	// Fulcio and Rekor are the addresses of Keyless' services.
	Fulcio, Rekor string
}

// signer reads the key, before anything is built; it is nil where nothing is to be signed.
func (a *App) signer(o SignOptions) (*signature.Signer, error) {
	switch o.Key {
	case "":
		return nil, nil
	case Keyless:
		// That there is a token is known now; it is asked for when it is needed.
		if o.TokenFile == "" && a.Getenv("SIGSTORE_ID_TOKEN") == "" && a.Getenv("ACTIONS_ID_TOKEN_REQUEST_URL") == "" {
			return nil, fault.New(fault.Usage, "--sign keyless has no identity token", errors.New("--identity-token-file, SIGSTORE_ID_TOKEN and GitHub's token request are not set"),
				"on GitHub give the job the permission id-token: write; on GitLab declare SIGSTORE_ID_TOKEN below id_tokens; elsewhere name a file with --identity-token-file")
		}
		return signature.NewKeylessSigner(signature.Keyless{
			Fulcio: o.Fulcio, Rekor: o.Rekor,
			Token: func(ctx context.Context) (string, error) { return a.identityToken(ctx, o) },
		}), nil
	}
	pem, err := os.ReadFile(o.Key)
	if err != nil {
		return nil, fault.New(fault.Usage, "the key cannot be read", err, "name a private key in PEM with --sign, or sign with --sign "+Keyless)
	}
	signer, err := signature.NewKeySigner(pem, func() ([]byte, error) { return a.password(o) })
	if err != nil {
		return nil, fault.New(fault.Usage, "the key "+o.Key+" cannot be used", err, "it has to be a private key in PEM; its password comes from --sign-password-file or COSIGN_PASSWORD")
	}
	return signer, nil
}

// password is the key's. It is in no argument, which others on the machine can see.
func (a *App) password(o SignOptions) ([]byte, error) {
	if o.PasswordFile == "" {
		return []byte(a.Getenv("COSIGN_PASSWORD")), nil
	}
	data, err := os.ReadFile(o.PasswordFile)
	return []byte(strings.TrimRight(string(data), "\r\n")), err
}

// identityToken is a token for Fulcio: from a file, from the environment as GitLab gives
// it, or from GitHub.
func (a *App) identityToken(ctx context.Context, o SignOptions) (string, error) {
	if o.TokenFile != "" {
		data, err := os.ReadFile(o.TokenFile)
		return strings.TrimSpace(string(data)), err
	}
	if token := a.Getenv("SIGSTORE_ID_TOKEN"); token != "" {
		return token, nil
	}
	u, err := url.Parse(a.Getenv("ACTIONS_ID_TOKEN_REQUEST_URL"))
	if err != nil {
		return "", err
	}
	q := u.Query()
	q.Set("audience", "sigstore")
	u.RawQuery = q.Encode()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+a.Getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN"))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		Value string `json:"value"`
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GitHub gives no token: %s", resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil || answer.Value == "" {
		return "", errors.Join(errors.New("GitHub gives no token"), err)
	}
	return answer.Value, nil
}

// Signed is a signed statement that was put beside an image.
type Signed struct {
	// Image is the image in its repository, by digest; Artifact is what refers to it.
	Image    string `json:"image"`
	Artifact string `json:"artifact"`
}

// signPushed signs an image where it was pushed to, once in each repository.
func signPushed(ctx context.Context, signer *signature.Signer, tags []string, digest string, insecure []string, asking []remote.Option) ([]Signed, error) {
	st, err := signature.Statement(signature.PredicateSign, strings.TrimPrefix(digest, "sha256:"), struct{}{})
	if err != nil {
		return nil, err
	}
	bundle, err := signer.Sign(ctx, st)
	if err != nil {
		return nil, fault.New(fault.Build, "the image was pushed, but cannot be signed", err, "check --sign; the image is there: sign it with cosign, or build once more")
	}
	var out []Signed
	seen := map[string]bool{}
	for _, tag := range tags {
		ref, err := imageRef(tag, insecure)
		if err != nil {
			return out, err
		}
		if seen[ref.Context().Name()] {
			continue
		}
		seen[ref.Context().Name()] = true
		s, err := pushStatement(ctx, ref, digest, st, bundle, asking)
		if err != nil {
			return out, err
		}
		out = append(out, s)
	}
	return out, nil
}

// pushStatement puts a signed statement beside the image with this digest.
func pushStatement(ctx context.Context, ref name.Reference, digest string, st attest.Statement, bundle []byte, asking []remote.Option) (Signed, error) {
	image := ref.Context().Digest(digest)
	artifact, err := signature.Push(ctx, image, st.PredicateType, bundle, asking...)
	if err != nil {
		return Signed{}, fault.New(fault.Build, "the signature cannot be pushed beside "+image.String(), err, "log in with docker login; name a registry without TLS with --insecure-registry")
	}
	return Signed{image.String(), artifact.String()}, nil
}
