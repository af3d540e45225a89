package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
)

// TestFixtureNetworkStaysOut checks that a proxy's password and private certificates, which
// steps with a network receive, are nowhere in the image: in no layer, not in its config and
// not in its history.
func TestFixtureNetworkStaysOut(t *testing.T) {
	p := fixture(t)
	const password = "planted-password-7c1d"
	// A proxy that nothing here has to go through.
	p.setenv("FTP_PROXY", "http://me:"+password+"@proxy.invalid:3128")
	cert := authority(t)
	file := filepath.Join(p.dir, "ca.pem")
	if err := os.WriteFile(file, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	repo := gitrepo.New(t, tinyengine.Tree())
	const tag = "llorch-e2e:network"
	t.Cleanup(func() { removeImages(t, p.api, tag) })
	p.must("build", "--source", repo.Dir, "--no-cache", "--ca-cert", file, "--tag", tag)

	block, _ := pem.Decode(cert)
	planted := map[string][]byte{
		"the proxy's password": []byte(password),
		"the certificate":      block.Bytes[:64],
		"the certificate, PEM": bytes.Split(cert, []byte("\n"))[1],
	}
	saved, err := p.api.ImageSave(t.Context(), []string{tag})
	if err != nil {
		t.Fatal(err)
	}
	defer saved.Close()
	image, err := io.ReadAll(saved)
	if err != nil {
		t.Fatal(err)
	}
	// The archive has the layers as they are, and the config with its history.
	if !bytes.Contains(image, []byte("llama-server")) || !bytes.Contains(image, []byte("dev.llorch.recipe")) {
		t.Fatal("the saved image is no image")
	}
	inspected, err := p.api.ImageInspect(t.Context(), tag)
	if err != nil {
		t.Fatal(err)
	}
	history, err := p.api.ImageHistory(t.Context(), tag)
	if err != nil {
		t.Fatal(err)
	}
	said, err := json.Marshal([]any{inspected, history})
	if err != nil {
		t.Fatal(err)
	}
	for what, secret := range planted {
		if bytes.Contains(image, secret) || bytes.Contains(said, secret) {
			t.Errorf("%s is in the image", what)
		}
	}

	for name, text := range map[string]string{"no such file": "", "no certificate": "hello"} {
		bad := filepath.Join(p.dir, "bad.pem")
		if text != "" {
			if err := os.WriteFile(bad, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		t.Run(name, func(t *testing.T) {
			p.run("build", "--source", repo.Dir, "--ca-cert", bad, "--tag", tag).wants(t, 2, "--ca-cert", "BEGIN CERTIFICATE")
		})
		_ = os.Remove(bad)
	}
}

// authority is the certificate of an authority that is made for the test.
func authority(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority of the test's own"},
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &c, &c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
