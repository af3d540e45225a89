package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/audit"
	"github.com/llorch/llorch-bk/llb/signature"
)

// TrustOptions name the trusted signer.
type TrustOptions struct {
	// Key is the file of a PEM public key.
	Key string
	// Identity is the keyless signer, and Issuer vouches for it; Root is the file of a
	// trusted root (sigstore's JSON).
	Identity, Issuer, Root string
}

// verifier is nil if no signature is required.
func (o TrustOptions) verifier() (*signature.Verifier, error) {
	byIdentity := o.Identity != "" || o.Issuer != ""
	switch {
	case o.Key != "" && byIdentity:
		return nil, fault.New(fault.Usage, "--key and --identity cannot be used together", nil, "remove one of them")
	case o.Key != "":
		return trusted(o.Key, "name a PEM public key with --key", signature.TrustKey)
	case byIdentity && (o.Identity == "" || o.Issuer == "" || o.Root == ""):
		return nil, fault.New(fault.Usage, "the trusted identity is incomplete", errors.New("--identity, --issuer and --trusted-root are needed together"),
			"give all three; cosign trusted-root create writes a trusted root")
	case byIdentity:
		return trusted(o.Root, "name sigstore's trusted_root.json with --trusted-root", func(root []byte) (*signature.Verifier, error) {
			return signature.TrustIdentity(root, o.Identity, o.Issuer)
		})
	}
	return nil, nil
}

func trusted(file, do string, trust func([]byte) (*signature.Verifier, error)) (*signature.Verifier, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.New(fault.Usage, "cannot read "+file, err, do)
	}
	v, err := trust(data)
	if err != nil {
		return nil, fault.New(fault.Usage, "cannot use "+file, err, do)
	}
	return v, nil
}

// signatures checks the signed statements beside an image in a registry. Without a verifier
// it only counts them, and ignores a registry that cannot list them. With a verifier, an
// image that the trusted signer did not sign is a fault.Build.
func signatures(ctx context.Context, ref name.Reference, img *audit.Image, trust *signature.Verifier, asking []remote.Option) (checks []audit.Check, unchecked int, err error) {
	var why []error
	is := false
	for _, digest := range distinct(img.Root, img.Descriptor.Digest) {
		found, err := signature.Find(ctx, ref.Context().Digest(digest.String()), asking...)
		if err != nil && trust != nil {
			return nil, 0, fault.New(fault.Machine, "cannot fetch the signatures of "+ref.String(), err, registryAdvice(err))
		}
		for _, b := range found {
			if trust == nil {
				unchecked++
				continue
			}
			check, signs, err := checkSigned(b, digest, img, trust)
			if err != nil {
				why = append(why, fmt.Errorf("%s: %w", b.Digest, err))
				continue
			}
			checks, is = append(checks, check), is || signs
		}
	}
	if trust == nil || is {
		return checks, unchecked, nil
	}
	if len(why) == 0 {
		why = []error{errors.New("it has no signature")}
	}
	return nil, 0, fault.New(fault.Build, fmt.Sprintf("%s is not signed by %s", ref, trust), errors.Join(why...), "do not use the image, or name its signer with --key or --identity")
}

// checkSigned checks one bundle; the bool is true if it signs the image itself.
func checkSigned(b signature.Bundle, digest v1.Hash, img *audit.Image, trust *signature.Verifier) (audit.Check, bool, error) {
	c := audit.Check{Digest: b.Digest.String()}
	if b.Err != nil {
		return c, false, b.Err
	}
	s, err := trust.Verify(b.Data, digest.Hex)
	if err != nil {
		return c, false, err
	}
	switch s.PredicateType {
	case signature.PredicateSign:
		c.What, c.Holds = "signature", "of the image by "+s.By
		if digest != img.Descriptor.Digest {
			c.Holds = "of the image and its statements by " + s.By
		}
		return c, true, nil
	case signature.PredicateRebuilt:
		var r signature.Rebuilt
		if err := json.Unmarshal(s.Predicate, &r); err != nil {
			return c, false, err
		}
		if r.Manifest != img.Descriptor.Digest.String() {
			return c, false, fmt.Errorf("it is about the rebuilt image %s", r.Manifest)
		}
		c.What, c.Holds = "rebuilt", fmt.Sprintf("by %s, with %s on %s: the same", s.By, r.Tool, r.At.Format(time.DateOnly))
		return c, false, nil
	}
	c.What, c.Holds = "statement", s.PredicateType+" by "+s.By
	return c, false, nil
}

func distinct(a, b v1.Hash) []v1.Hash {
	if a == b {
		return []v1.Hash{a}
	}
	return []v1.Hash{a, b}
}

// attestRebuilt signs a statement that the rebuilt image is identical, and pushes it beside
// the image.
func attestRebuilt(ctx context.Context, img *audit.Image, signer *signature.Signer, opt VerifyOptions, asking []remote.Option) (Signed, error) {
	ref, err := imageRef(opt.Image, opt.Output.Insecure)
	if err != nil {
		return Signed{}, err
	}
	lock, err := os.ReadFile(opt.Locked)
	if err != nil {
		return Signed{}, err
	}
	sum := sha256.Sum256(lock)
	digest := img.Descriptor.Digest
	st, err := signature.Statement(signature.PredicateRebuilt, digest.Hex, signature.Rebuilt{
		Manifest: digest.String(), LockSHA256: hex.EncodeToString(sum[:]), Platform: opt.Request.Platform, Tool: opt.Tool, At: time.Now().UTC().Truncate(time.Second),
	})
	if err != nil {
		return Signed{}, err
	}
	bundle, err := signer.Sign(ctx, st)
	if err != nil {
		return Signed{}, fault.New(fault.Build, "the rebuilt image is identical, but the statement could not be signed", err, "")
	}
	return pushStatement(ctx, ref, digest.String(), st, bundle, asking)
}
