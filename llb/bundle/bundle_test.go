package bundle_test

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb/bundle"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const platform = "linux/amd64"

// kept is a store with something for a lock.
type kept struct {
	*bundle.Store
	art  bundle.Artifact
	base ocispec.Descriptor
}

func open(t *testing.T) *bundle.Store {
	t.Helper()
	s, err := bundle.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *bundle.Store, mediaType, text string) ocispec.Descriptor {
	t.Helper()
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromString(text), Size: int64(len(text)), Annotations: map[string]string{ocispec.AnnotationTitle: "file of " + text}}
	if _, err := s.Put(t.Context(), d.Digest, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	return d
}

func putJSON(t *testing.T, s *bundle.Store, mediaType string, v any) ocispec.Descriptor {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	d := put(t, s, mediaType, string(data))
	d.Annotations = nil
	return d
}

// image is a base for two platforms, of which one is in the store.
func image(t *testing.T, s *bundle.Store) ocispec.Descriptor {
	t.Helper()
	config := putJSON(t, s, ocispec.MediaTypeImageConfig, ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}})
	layer := put(t, s, ocispec.MediaTypeImageLayer, "the layer")
	manifest := putJSON(t, s, ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{layer},
	})
	manifest.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	other := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("another"), Size: 7, Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64"}}
	return putJSON(t, s, ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{other, manifest},
	})
}

func lockOf(commit string, base digest.Digest, debs ...ocispec.Descriptor) images.Lock {
	var packages []images.Package
	for i, d := range debs {
		name := fmt.Sprintf("p%d", i)
		packages = append(packages, images.Package{Name: name, Version: "1", Architecture: "amd64", SHA256: d.Digest.Encoded(), Size: d.Size, Path: "pool/" + name + "_1_amd64.deb"})
	}
	return images.Lock{
		Schema: images.LockSchema, Recipe: images.Recipe(digest.FromString("scripts").String()),
		Source:    images.LockSource{Repository: "https://example.com/x", Commit: strings.Repeat(commit, 40), Time: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)},
		Request:   images.LockRequest{Variant: "cpu", CPU: "portable", NoUI: true},
		Platforms: map[string]images.LockPlatform{platform: {Build: images.BaseFacts{Ref: "docker.io/library/debian:trixie-slim", Digest: base.String()}, Packages: images.PackageSets{Toolchain: packages, Runtime: packages[:1]}}},
	}
}

func keep(t *testing.T) kept {
	t.Helper()
	s := open(t)
	debs := []ocispec.Descriptor{put(t, s, bundle.PackageType, "one"), put(t, s, bundle.PackageType, "two")}
	base := image(t, s)
	art, err := s.Keep(t.Context(), lockOf("1", base.Digest, debs...), platform, append(debs, debs[0]), []ocispec.Descriptor{base})
	if err != nil {
		t.Fatal(err)
	}
	return kept{s, art, base}
}

func nothing(int64) {}

func archive(t *testing.T, k kept) []byte {
	t.Helper()
	c, err := k.Contents(k.art)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var told int64
	if err := k.WriteArchive(t.Context(), &out, c, nil, func(n int64) { told = n }); err != nil {
		t.Fatal(err)
	}
	if told != c.Bytes {
		t.Errorf("told of %d bytes, and there are %d", told, c.Bytes)
	}
	return out.Bytes()
}

func write(t *testing.T, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.bundle")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// What one store writes, another has, whole; also from a folder, also twice, and equal
// content is an equal file.
func TestBundleTravels(t *testing.T) {
	t.Parallel()
	k := keep(t)
	data := archive(t, k)
	if !bytes.Equal(data, archive(t, keep(t))) {
		t.Error("equal content gave two archives")
	}
	for name, from := range map[string]string{"an archive": write(t, data), "a folder": k.Dir()} {
		there := open(t)
		for range 2 {
			found, err := there.Load(t.Context(), from, nothing)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff([]bundle.Artifact{k.art}, found); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		all, err := there.Artifacts()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]bundle.Artifact{k.art}, all); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if len(k.art.Blobs) != 2 {
			t.Errorf("%d blobs, and one was named twice", len(k.art.Blobs))
		}
		if _, err := there.Image(k.base.Digest, platform); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := there.Image(k.base.Digest, "linux/arm64"); !errors.Is(err, bundle.ErrNotThere) {
			t.Errorf("%s: an image that is not there: %v", name, err)
		}
		if !bytes.Equal(data, archive(t, kept{there, all[0], k.base})) {
			t.Errorf("%s: what was loaded is written otherwise", name)
		}
	}
}

// A bundle that is not whole, or not what it was, is refused by the blob's name, and
// leaves no blob that is not what its name says, and nothing that a build would take.
func TestBadBundles(t *testing.T) {
	t.Parallel()
	k := keep(t)
	data := archive(t, k)
	deb := k.art.Blobs[0]
	at := bytes.Index(data, []byte("blobs/sha256/"+deb.Digest.Encoded()))
	tampered := bytes.Clone(data)
	tampered[at+512]++
	// A whole archive that lacks one blob: its header and its one block are cut out.
	lacking := append(bytes.Clone(data[:at]), data[at+1024:]...)
	for name, c := range map[string]struct {
		data []byte
		// is is nil for a DamagedError.
		is   error
		says string
	}{
		"one byte changed":  {tampered, nil, deb.Digest.String()},
		"a blob taken out":  {lacking, bundle.ErrNotThere, deb.Digest.String()},
		"cut in a blob":     {data[:at+513], nil, deb.Digest.String()},
		"cut between blobs": {data[:at], bundle.ErrNotThere, "sha256:"},
		"something else":    {[]byte("a text that is no archive, and somewhat longer than nothing"), bundle.ErrNoBundle, "not a bundle"},
		"an empty file":     {nil, bundle.ErrNoBundle, "not a bundle"},
	} {
		s := open(t)
		_, err := s.Load(t.Context(), write(t, c.data), nothing)
		var damaged *bundle.DamagedError
		if errors.As(err, &damaged) != (c.is == nil) || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: %v, want %v that says %q", name, err, c.is, c.says)
		}
		if all, err := s.Artifacts(); err != nil || len(all) > 0 {
			t.Errorf("%s: %v is there, %v", name, all, err)
		}
		soundBlobs(t, name, s)
	}
}

// soundBlobs holds that every blob of a store is what its name says, and that nothing
// else was left.
func soundBlobs(t *testing.T, name string, s *bundle.Store) {
	t.Helper()
	err := filepath.WalkDir(s.Dir(), func(file string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		switch data, err := os.ReadFile(file); {
		case err != nil:
			t.Error(err)
		case strings.Contains(file, "/ingest/"):
			t.Errorf("%s: left %s", name, file)
		case strings.Contains(file, "/blobs/") && digest.FromBytes(data).Encoded() != filepath.Base(file):
			t.Errorf("%s: %s has other bytes", name, file)
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// A load that is interrupted leaves nothing half.
func TestInterruptedLoad(t *testing.T) {
	t.Parallel()
	data := archive(t, keep(t))
	s := open(t)
	ctx, stop := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	_, err := s.Load(ctx, write(t, data), func(n int64) { stop(why) })
	if !errors.Is(err, why) {
		t.Errorf("%v, want %v", err, why)
	}
	soundBlobs(t, "interrupted", s)
	if _, err := s.Load(t.Context(), write(t, data), nothing); err != nil {
		t.Errorf("once more: %v", err)
	}
}

// Bytes that rot are found when they are written, and repaired when they are kept again.
func TestRottenBlobs(t *testing.T) {
	t.Parallel()
	k := keep(t)
	data := archive(t, k)
	rot := func(d digest.Digest) {
		t.Helper()
		if err := errors.Join(os.Chmod(k.Path(d), 0o600), os.WriteFile(k.Path(d), []byte("rot"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	deb := k.art.Blobs[0].Digest
	rot(deb)
	c, err := k.Contents(k.art)
	if err != nil {
		t.Fatal(err)
	}
	var damaged *bundle.DamagedError
	if err := k.WriteArchive(t.Context(), io.Discard, c, nil, nothing); !errors.As(err, &damaged) || damaged.Blob != deb || k.Has(deb) {
		t.Errorf("%v, and it is there: %v", err, k.Has(deb))
	}
	rot(k.art.Blobs[1].Digest)
	if _, err := k.Load(t.Context(), write(t, data), nothing); err != nil {
		t.Fatal(err)
	}
	for _, b := range k.art.Blobs {
		if !k.Sound(t.Context(), b.Digest) {
			t.Errorf("%s was not repaired", b.Digest)
		}
	}
}

// A second lock is kept beside the first; the same one takes its own place.
func TestKeepsLocksApart(t *testing.T) {
	t.Parallel()
	k := keep(t)
	more := put(t, k.Store, bundle.PackageType, "three")
	for _, lock := range []images.Lock{lockOf("2", k.base.Digest, more), lockOf("2", k.base.Digest, more), k.art.Lock} {
		if _, err := k.Keep(t.Context(), lock, platform, []ocispec.Descriptor{more}, []ocispec.Descriptor{k.base}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := k.Artifacts()
	if err != nil || len(all) != 2 {
		t.Fatalf("%d artifacts, %v", len(all), err)
	}
	for _, a := range all {
		if len(a.Blobs) != 1 {
			t.Errorf("%s has %d blobs", a.Lock.Source.Commit, len(a.Blobs))
		}
	}
}

func TestOpenLeavesOtherFoldersAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Open(dir); err == nil {
		t.Error("a folder with other files was taken for a store")
	}
}

// A registry has what a store pushed, for each lock, and gives blobs back.
func TestRegistry(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	reg, err := bundle.AtRegistry(bundle.Scheme+strings.TrimPrefix(server.URL, "http://")+"/packages:llama", nil)
	if err != nil {
		t.Fatal(err)
	}
	k := keep(t)
	if _, err := reg.Artifacts(t.Context(), k.Store); !errors.Is(err, bundle.ErrNotThere) {
		t.Errorf("an empty registry: %v", err)
	}
	other := put(t, k.Store, bundle.PackageType, "three")
	second, err := k.Keep(t.Context(), lockOf("2", k.base.Digest, other), platform, []ocispec.Descriptor{other}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []bundle.Artifact{k.art, second, k.art} {
		if err := reg.Push(t.Context(), k.Store, a, nothing); err != nil {
			t.Fatal(err)
		}
	}
	there := open(t)
	all, err := reg.Artifacts(t.Context(), there)
	if err != nil || len(all) != 2 {
		t.Fatalf("%d artifacts, %v", len(all), err)
	}
	for _, a := range all {
		if err := reg.Pull(t.Context(), there, a.Blobs, nothing); err != nil {
			t.Fatal(err)
		}
		for _, b := range a.Blobs {
			if !there.Has(b.Digest) {
				t.Errorf("%s was not fetched", b.Digest)
			}
		}
	}
	soundBlobs(t, "pulled", there)
}

// What npm has fetched is taken by its hash, and only what its lock file pins.
func TestNPMFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	integrity := func(text string) string {
		sum := sha512.Sum512([]byte(text))
		return "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
	}
	lock := filepath.Join(dir, "package-lock.json")
	text := fmt.Sprintf(`{"packages": {"": {}, "node_modules/@scope/a": {"version": "1.2.3", "integrity": "sha1-x= %s"}, "node_modules/a/node_modules/b": {"version": "2.0.0", "integrity": %q}}}`, integrity("A"), integrity("B"))
	content := filepath.Join(dir, "content")
	if err := errors.Join(os.WriteFile(lock, []byte(text), 0o600), os.MkdirAll(filepath.Join(content, "sha512", "aa"), 0o755), os.WriteFile(filepath.Join(content, "sha512", "aa", "x"), []byte("A"), 0o600)); err != nil {
		t.Fatal(err)
	}
	files, err := bundle.NPMFiles(content, lock)
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	f := files[0]
	sum := sha512.Sum512([]byte("A"))
	if f.Digest != digest.FromString("A") || f.Annotations[ocispec.AnnotationTitle] != "scope-a-1.2.3.tgz" || bundle.SHA512(f.Descriptor) != fmt.Sprintf("%x", sum) {
		t.Errorf("%+v", f)
	}
	if err := os.WriteFile(filepath.Join(content, "sha512", "aa", "y"), []byte("a forgery"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.NPMFiles(content, lock); err == nil || !strings.Contains(err.Error(), integrity("a forgery")) {
		t.Errorf("what nothing pins: %v", err)
	}
}
