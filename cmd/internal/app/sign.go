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

// Keyless is the value of --sign for a certificate of an identity instead of a key.
const Keyless = "keyless"

// SignOptions say how to sign.
type SignOptions struct {
	// Key is the file of a PEM private key, or Keyless; empty to sign nothing.
	Key string
	// PasswordFile holds the key's password; without it, COSIGN_PASSWORD does.
	PasswordFile string
	// TokenFile holds the OpenID Connect token for Keyless; without it, the CI's environment
	// provides one.
	TokenFile string
	// Fulcio and Rekor are the addresses of the services for Keyless.
	Fulcio, Rekor string
}

// signer reads the key before anything is built; it is nil if nothing is to be signed.
func (a *App) signer(o SignOptions) (*signature.Signer, error) {
	switch o.Key {
	case "":
		return nil, nil
	case Keyless:
		// Check now that there is a token; request it when it is needed, since it expires.
		if o.TokenFile == "" && a.Getenv("SIGSTORE_ID_TOKEN") == "" && a.Getenv("ACTIONS_ID_TOKEN_REQUEST_URL") == "" {
			return nil, fault.New(fault.Usage, "--sign keyless needs an identity token", errors.New("--identity-token-file, SIGSTORE_ID_TOKEN and ACTIONS_ID_TOKEN_REQUEST_URL are not set"),
				"on GitHub, give the job the permission id-token: write; on GitLab, declare SIGSTORE_ID_TOKEN under id_tokens; elsewhere, name a file with --identity-token-file")
		}
		return signature.NewKeylessSigner(signature.Keyless{
			Fulcio: o.Fulcio, Rekor: o.Rekor,
			Token: func(ctx context.Context) (string, error) { return a.identityToken(ctx, o) },
		}), nil
	}
	pem, err := os.ReadFile(o.Key)
	if err != nil {
		return nil, fault.New(fault.Usage, "cannot read the key "+o.Key, err, "name a PEM private key with --sign, or use --sign "+Keyless)
	}
	signer, err := signature.NewKeySigner(pem, func() ([]byte, error) { return a.password(o) })
	if err != nil {
		return nil, fault.New(fault.Usage, "cannot use the key "+o.Key, err, "name a PEM private key; give its password in --sign-password-file or COSIGN_PASSWORD")
	}
	return signer, nil
}

// password reads the key's password. It is never an argument: other users can see those.
func (a *App) password(o SignOptions) ([]byte, error) {
	if o.PasswordFile == "" {
		return []byte(a.Getenv("COSIGN_PASSWORD")), nil
	}
	data, err := os.ReadFile(o.PasswordFile)
	return []byte(strings.TrimRight(string(data), "\r\n")), err
}

// identityToken returns a token for Fulcio: from a file, from the environment (GitLab), or
// from GitHub's token service.
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
		return "", fmt.Errorf("GitHub's token service answered %s", resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil || answer.Value == "" {
		return "", errors.Join(errors.New("GitHub's token service returned no token"), err)
	}
	return answer.Value, nil
}

// Signed is a signed statement that was pushed beside an image.
type Signed struct {
	// Image is the image by digest; Artifact is the pushed statement that refers to it.
	Image    string `json:"image"`
	Artifact string `json:"artifact"`
}

// signPushed signs a pushed image, once in each repository.
func signPushed(ctx context.Context, signer *signature.Signer, tags []string, digest string, insecure []string, asking []remote.Option) ([]Signed, error) {
	st, err := signature.Statement(signature.PredicateSign, strings.TrimPrefix(digest, "sha256:"), struct{}{})
	if err != nil {
		return nil, err
	}
	bundle, err := signer.Sign(ctx, st)
	if err != nil {
		return nil, fault.New(fault.Build, "the image was pushed, but could not be signed", err, "sign the pushed image with cosign, or build again")
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

// pushStatement pushes a signed statement beside the image with this digest.
func pushStatement(ctx context.Context, ref name.Reference, digest string, st attest.Statement, bundle []byte, asking []remote.Option) (Signed, error) {
	image := ref.Context().Digest(digest)
	artifact, err := signature.Push(ctx, image, st.PredicateType, bundle, asking...)
	if err != nil {
		return Signed{}, fault.New(fault.Build, "cannot push the signature of "+image.String(), err, registryAdvice(err))
	}
	return Signed{image.String(), artifact.String()}, nil
}
