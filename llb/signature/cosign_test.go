package signature_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/fixtures/sigstore"
	"github.com/llorch/llorch-bk/llb/signature"
)

// cosign runs sigstore's own client, in a folder with the key pair cosign.key, cosign.pub.
func cosign(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Getenv("LLORCH_TEST_COSIGN"), args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "COSIGN_PASSWORD=secret", "HOME="+dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestCosign holds that cosign takes our signatures, that we take cosign's, and that
// neither takes another's. The client is a program of its own: LLORCH_TEST_COSIGN names it.
func TestCosign(t *testing.T) {
	t.Parallel()
	if os.Getenv("LLORCH_TEST_COSIGN") == "" {
		t.Skip("needs cosign 3: set LLORCH_TEST_COSIGN to the program")
	}
	dir := t.TempDir()
	key := p256(t)
	_, public := newKey(t, key)
	_, stranger := newKey(t, p256(t))
	for name, data := range map[string][]byte{"cosign.key": encrypted(t, key, "secret"), "cosign.pub": public, "stranger.pub": stranger} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	verify := func(public, image string) (string, error) {
		return cosign(t, dir, "verify", "--key", public, "--insecure-ignore-tlog=true", "--allow-http-registry", image)
	}

	ours, hex := pushed(t, true)
	signer, err := signature.NewKeySigner(encrypted(t, key, "secret"), func() ([]byte, error) { return []byte("secret"), nil })
	if err != nil {
		t.Fatal(err)
	}
	for kind, predicate := range map[string]any{signature.PredicateSign: struct{}{}, signature.PredicateRebuilt: signature.Rebuilt{Tool: "test"}} {
		s, err := signature.Statement(kind, hex, predicate)
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := signer.Sign(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := signature.Push(t.Context(), ours, kind, bundle); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := verify("cosign.pub", ours.String()); err != nil || !strings.Contains(out, hex) {
		t.Errorf("cosign does not take our signature: %v\n%s", err, out)
	}
	if out, err := cosign(t, dir, "verify-attestation", "--key", "cosign.pub", "--insecure-ignore-tlog=true", "--allow-http-registry", "--type", signature.PredicateRebuilt, ours.String()); err != nil {
		t.Errorf("cosign does not take our statement: %v\n%s", err, out)
	}
	if out, err := verify("stranger.pub", ours.String()); err == nil {
		t.Errorf("cosign takes another key for ours:\n%s", out)
	}

	s := sigstore.Start(t)
	if err := os.WriteFile(filepath.Join(dir, "root.json"), s.Root, 0o600); err != nil {
		t.Fatal(err)
	}
	byIdentity, hex := pushed(t, true)
	bundle, err := keyless(s, s.Token(me)).Sign(t.Context(), statement(t, hex))
	if err == nil {
		_, err = signature.Push(t.Context(), byIdentity, signature.PredicateSign, bundle)
	}
	if err != nil {
		t.Fatal(err)
	}
	for who, takes := range map[string]bool{me: true, "you@example.org": false} {
		out, err := cosign(t, dir, "verify", "--certificate-identity", who, "--certificate-oidc-issuer", sigstore.Issuer, "--trusted-root", "root.json", "--insecure-ignore-sct", "--allow-http-registry", byIdentity.String())
		if (err == nil) != takes {
			t.Errorf("signed by %s, cosign asked for %s: %v\n%s", me, who, err, out)
		}
	}

	theirs, hex := pushed(t, true)
	if out, err := cosign(t, dir, "sign", "--yes", "--key", "cosign.key", "--tlog-upload=false", "--use-signing-config=false", "--allow-http-registry", theirs.String()); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	found, err := signature.Find(t.Context(), theirs)
	if err != nil || len(found) != 1 {
		t.Fatalf("found %v, %v", found, err)
	}
	if got, err := trust(t, public).Verify(found[0].Data, hex); err != nil || got.PredicateType != signature.PredicateSign {
		t.Errorf("we do not take cosign's signature: %+v, %v", got, err)
	}
	if _, err := trust(t, stranger).Verify(found[0].Data, hex); err == nil {
		t.Error("we take another key for cosign's")
	}
}
