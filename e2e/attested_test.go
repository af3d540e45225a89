package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
	"github.com/llorch/llorch-bk/images"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// TestFixtureAttested checks that a build's attestations are true, that another client finds
// them, and that verify refuses an image with a false one.
func TestFixtureAttested(t *testing.T) {
	gate(t, "LLORCH_E2E_FIXTURE", "fixture")
	p := newProject(t)
	reg := newRegistry(t)
	builder := standalone(t)
	repo := gitrepo.New(t, tinyengine.Tree())
	private, public := p.keys("e2e secret")
	tag := reg.host + "/llama:attested"

	// From a server, so that the builder itself knows the commit.
	p.must("lock", "--builder", builder.Addr, "--source", repo.Serve(), "--ref", "HEAD", "--cpu", "x86-64-v3", "--no-ui")
	built := p.must("build", "--builder", builder.Addr, "--locked", "--push", "--tag", tag, "--sign", private)
	image := reg.pull(t, "llama", "attested")
	if !strings.Contains(built.stdout, "signed "+reg.host+"/llama@"+image.root) {
		t.Errorf("the registry has %s, and the program says:\n%s", image.root, built.stdout)
	}
	wantPackages(t, image)
	wantInputs(t, image, p.lock(), repo.Head())
	if code := image.statements["https://github.com/llorch/llorch-bk/predicates/device-code/v1"]; !strings.Contains(string(code), `"x86-64-v3"`) {
		t.Errorf("device code: %s", code)
	}

	checked := p.must("verify", "--no-rebuild", "--key", public, tag)
	for _, what := range []string{"layer llama-server", "SBOM", "provenance", "device code", "signature"} {
		if !strings.Contains(checked.stdout, "checked  "+what) {
			t.Errorf("%s is not checked:\n%s", what, checked.stdout)
		}
	}
	p.must("verify", "--builder", builder.Addr, "--key", public, "--attest", "--sign", private, tag)
	if again := p.must("verify", "--no-rebuild", "--key", public, tag); !strings.Contains(again.stdout, "checked  rebuilt") {
		t.Errorf("that it was rebuilt is not said:\n%s", again.stdout)
	}
	for digest, want := range map[string]string{
		image.root:     "https://sigstore.dev/cosign/sign/v1",
		image.manifest: "https://github.com/llorch/llorch-bk/predicates/rebuilt/v1",
	} {
		if got := reg.signed(t, "llama", digest); !slices.Equal(got, []string{want}) {
			t.Errorf("signed of %s: %q, want %s", digest, got, want)
		}
	}
	t.Run("tampered", func(t *testing.T) { tampered(t, p, reg, image, builder.Addr, public) })
	t.Run("runtime base", func(t *testing.T) { onABase(t, p, reg, builder.Addr, repo.Dir) })
}

// keys are a key pair as cosign generates it; its password is in the environment.
func (p *project) keys(password string) (private, public string) {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	der, err := cryptoutils.MarshalPrivateKeyToEncryptedDER(key, func(bool) ([]byte, error) { return []byte(password), nil })
	if err != nil {
		p.t.Fatal(err)
	}
	pub, err := cryptoutils.MarshalPublicKeyToPEM(key.Public())
	if err != nil {
		p.t.Fatal(err)
	}
	p.setenv("COSIGN_PASSWORD", password)
	private, public = filepath.Join(p.dir, "cosign.key"), filepath.Join(p.dir, "cosign.pub")
	for file, data := range map[string][]byte{private: cryptoutils.PEMEncode(cryptoutils.EncryptedSigstorePrivateKeyPEMType, der), public: pub} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	return private, public
}

// lock is the project's lock.
func (p *project) lock() images.Lock {
	p.t.Helper()
	data, err := os.ReadFile(filepath.Join(p.dir, images.LockFile))
	if err != nil {
		p.t.Fatal(err)
	}
	lock, err := images.DecodeLock(data)
	if err != nil {
		p.t.Fatal(err)
	}
	return lock
}

// wantPackages compares the Debian packages in an image's SBOM with dpkg's list.
func wantPackages(t *testing.T, image pulled) {
	t.Helper()
	var sbom struct {
		Packages []struct {
			Name, VersionInfo string
			ExternalRefs      []struct{ ReferenceLocator string }
		}
	}
	if err := json.Unmarshal(image.statements["https://spdx.dev/Document"], &sbom); err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, p := range sbom.Packages {
		if len(p.ExternalRefs) > 0 && strings.HasPrefix(p.ExternalRefs[0].ReferenceLocator, "pkg:deb/") {
			listed = append(listed, p.Name+" "+p.VersionInfo)
		}
	}
	slices.Sort(listed)
	if has := dpkg(t, image.files); !slices.Equal(listed, has) {
		t.Errorf("the SBOM lists %q, and dpkg %q", listed, has)
	}
}

// dpkg asks dpkg itself which packages an image has.
func dpkg(t *testing.T, files map[string][]byte) []string {
	t.Helper()
	query, err := exec.LookPath("dpkg-query")
	if err != nil {
		t.Skip("the list of packages is compared with dpkg's, and there is no dpkg-query")
	}
	dir := t.TempDir()
	status := files["var/lib/dpkg/status"]
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasPrefix(name, "var/lib/dpkg/status.d/") && !strings.HasSuffix(name, ".md5sums") {
			status = append(status, "Status: install ok installed\n"+strings.TrimSpace(string(files[name]))+"\n\n"...)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "status"), status, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), query, "--admindir", dir, "-W", "-f", "${db:Status-Abbrev}|${Package} ${Version}\n").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var has []string
	for line := range strings.Lines(string(out)) {
		state, p, _ := strings.Cut(strings.TrimSpace(line), "|")
		if strings.HasPrefix(state, "ii") {
			has = append(has, p)
		}
	}
	slices.Sort(has)
	if len(has) == 0 {
		t.Fatal("dpkg finds no package")
	}
	return has
}

// wantInputs checks that provenance has the commit and the bases of a lock.
func wantInputs(t *testing.T, image pulled, lock images.Lock, commit string) {
	t.Helper()
	var provenance struct {
		BuildDefinition struct {
			ResolvedDependencies []struct {
				URI    string
				Digest map[string]string
			}
		}
	}
	if err := json.Unmarshal(image.statements["https://slsa.dev/provenance/v1"], &provenance); err != nil {
		t.Fatal(err)
	}
	var has []string
	for _, d := range provenance.BuildDefinition.ResolvedDependencies {
		has = append(has, slices.Collect(maps.Values(d.Digest))...)
	}
	for _, want := range []string{commit, strings.TrimPrefix(lock.Platforms["linux/amd64"].Build.Digest, "sha256:")} {
		if !slices.Contains(has, want) {
			t.Errorf("the provenance lacks %s: %s", want, image.statements["https://slsa.dev/provenance/v1"])
		}
	}
}

// onABase checks the same for an image on a base with dpkg's own list.
func onABase(t *testing.T, p *project, reg *store, builder, source string) {
	t.Helper()
	base := p.lock().Platforms["linux/amd64"].Build.Ref
	tag := reg.host + "/llama:base"
	p.must("build", "--builder", builder, "--source", source, "--ref", "HEAD", "--cpu", "x86-64-v3", "--no-ui", "--runtime-base", base, "--push", "--tag", tag)
	image := reg.pull(t, "llama", "base")
	if image.files["var/lib/dpkg/status"] == nil {
		t.Fatal("the base has no list of dpkg's")
	}
	wantPackages(t, image)
	p.must("verify", "--no-rebuild", tag)
}

// tampered checks that verify refuses an image that was changed in the registry, even if its
// digests were updated.
func tampered(t *testing.T, p *project, reg *store, image pulled, builder, public string) {
	t.Helper()
	runtime := p.lock().Platforms["linux/amd64"].Packages.Runtime
	libc, _, _ := strings.Cut(runtime[slices.IndexFunc(runtime, func(p images.Package) bool { return p.Name == "libc6" })].Version, "+")
	for name, c := range map[string]struct {
		change change
		says   []string
	}{
		"a layer": {change{layer: "llama-server"}, []string{"failed verification", "layer llama-server (sha256:", "digest mismatch after unpacking"}},
		"a layer and the config": {change{layer: "llama-server", config: true}, []string{
			"SBOM (sha256:", "provenance (sha256:", "its subject is " + image.manifest,
		}},
		"a package of the SBOM": {change{statement: func(s string) string {
			return strings.ReplaceAll(s, `"name":"libc6"`, `"name":"libc7"`)
		}}, []string{"SBOM (sha256:", "its package URL names libc6"}},
		"another version in the SBOM": {change{statement: func(s string) string {
			return strings.ReplaceAll(s, libc, libc+".1")
		}}, []string{"SBOM (sha256:", "it lacks libc6 " + libc, "it lists libc6 " + libc + ".1"}},
		"the commit in the provenance": {change{statement: func(s string) string {
			return strings.ReplaceAll(s, `"sha1":"`+p.lock().Source.Commit, `"sha1":"`+strings.Repeat("1", 40))
		}}, []string{"provenance (sha256:", "its source is commit 1111"}},
		"the subjects": {change{statement: func(s string) string {
			return strings.ReplaceAll(s, strings.TrimPrefix(image.manifest, "sha256:"), strings.Repeat("2", 64))
		}}, []string{"its subject is sha256:2222"}},
	} {
		t.Run(name, func(t *testing.T) {
			tag := reg.tamper(t, image, c.change)
			p.run("verify", "--no-rebuild", tag).wants(t, 4, c.says...)
		})
	}
	t.Run("in the store", func(t *testing.T) {
		d := image.layers["llama-server"]
		reg.blobs.set(d.Digest.String(), make([]byte, d.Size))
		defer reg.blobs.set(d.Digest.String(), nil)
		p.run("verify", "--no-rebuild", reg.host+"/llama:attested").wants(t, 4, "layer llama-server ("+d.Digest.String())
	})
	// Somebody who writes everything anew is found by the signature that he cannot make,
	// and by the rebuild.
	t.Run("all of it", func(t *testing.T) {
		tag := reg.tamper(t, image, change{layer: "llama-server", config: true, subjects: true})
		p.must("verify", "--no-rebuild", tag)
		p.run("verify", "--no-rebuild", "--key", public, tag).wants(t, 4, "is not signed by", "it has no signature")
		r := p.run("verify", "--builder", builder, "--keep", filepath.Join(t.TempDir(), "kept"), tag)
		r.wants(t, 4, "rebuilt image differs")
		if !strings.Contains(r.stdout, "llama-server: app/") {
			t.Errorf("the file is not named:\n%s", r.stdout)
		}
	})
}
