package base

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// system is a root file system tarball as mmdebstrap writes one.
func system(t *testing.T, now time.Time) string {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range []tar.Header{
		{Typeflag: tar.TypeDir, Name: "./"},
		{Typeflag: tar.TypeDir, Name: "./dev/"},
		{Typeflag: tar.TypeChar, Name: "./dev/null", Devmajor: 1, Devminor: 3},
		{Typeflag: tar.TypeSymlink, Name: "./bin", Linkname: "usr/bin"},
		{Typeflag: tar.TypeReg, Name: "./etc/hostname", Size: 4},
		{Typeflag: tar.TypeReg, Name: "./etc/machine-id", Size: 4},
		{Typeflag: tar.TypeReg, Name: "./etc/passwd", Size: 4},
		{Typeflag: tar.TypeReg, Name: "./etc/passwd-", Size: 4},
		{Typeflag: tar.TypeReg, Name: "./etc/resolv.conf", Size: 4},
		{Typeflag: tar.TypeReg, Name: "./usr/bin/perl", Size: 4, Mode: 0o755, Uname: "root", PAXRecords: map[string]string{
			capability: "cap", "SCHILY.xattr.user.note": "mine",
		}},
		{Typeflag: tar.TypeLink, Name: "./usr/bin/perl5", Linkname: "./usr/bin/perl"},
		{Typeflag: tar.TypeReg, Name: "./usr/share/doc/apt/copyright", Size: 4, ModTime: Epoch.Add(-time.Hour)},
		{Typeflag: tar.TypeDir, Name: "./var/lib/apt/lists/partial/", Mode: 0o700, Uid: 42},
		{Typeflag: tar.TypeReg, Name: "./var/lib/apt/lists/lock", Size: 4},
		{Typeflag: tar.TypeReg, Name: "./var/cache/apt/archives/lock", Size: 4},
		{Typeflag: tar.TypeReg, Name: "./var/lib/dpkg/status", Size: 4},
		{Typeflag: tar.TypeReg, Name: "./var/lib/dpkg/status-old", Size: 4},
	} {
		if h.ModTime.IsZero() {
			h.ModTime = now
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			fmt.Fprint(w, "text")
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "system.tar")
	if err := os.WriteFile(file, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// script is a stand-in for mmdebstrap.
func script(t *testing.T, body string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "mmdebstrap")
	// A fork of a parallel test must not inherit the file while it is written:
	// the kernel would refuse to run it.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

func options(t *testing.T, program string) Options {
	t.Helper()
	return Options{Dir: t.TempDir(), Suite: "trixie", Arch: "arm64", Program: program, Host: hostFS(nil), Log: func(l string) { t.Log(l) }}
}

// leftovers are the names in the cache folder except the lock, which stays.
func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".lock-") {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestBootstrapWritesALayout(t *testing.T) {
	t.Parallel()
	record := filepath.Join(t.TempDir(), "record")
	o := options(t, script(t, `echo "$SOURCE_DATE_EPOCH $*" >>`+record+`; echo "I: success" >&2; cat `+system(t, time.Now())))
	b, err := Bootstrap(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := b.Ref, "llorch.local/debian:trixie-slim"; got != want {
		t.Errorf("ref %q, want %q", got, want)
	}
	said, _ := os.ReadFile(record)
	for _, part := range []string{"1754697600 ", "--variant=minbase", "--architectures=arm64", "path-include=/usr/share/doc/*/copyright", " trixie -"} {
		if !strings.Contains(string(said), part) {
			t.Errorf("mmdebstrap was called as %q, without %q", said, part)
		}
	}

	store, err := b.Store()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := content.ReadBlob(t.Context(), store, ocispec.Descriptor{Digest: b.ConfigDigest, Size: size(t, b, b.ConfigDigest)})
	if err != nil {
		t.Fatal(err)
	}
	var config ocispec.Image
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture != "arm64" || !config.Created.Equal(Epoch) || config.Config.Labels[LabelBootstrap] != "trixie" {
		t.Errorf("config is %s", raw)
	}
	layer, err := content.ReadBlob(t.Context(), store, b.Layers[0])
	if err != nil {
		t.Fatal(err)
	}
	checkLayer(t, layer, b.DiffIDs[0])
	if diff := cmp.Diff([]string{"trixie-arm64"}, leftovers(t, o.Dir)); diff != "" {
		t.Error(diff)
	}

	again, err := Bootstrap(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, again); diff != "" {
		t.Errorf("the second call gives another image (-first +second):\n%s", diff)
	}
	if now, _ := os.ReadFile(record); !bytes.Equal(now, said) {
		t.Error("the second call ran mmdebstrap again")
	}
}

func size(t *testing.T, b Base, d digest.Digest) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(b.Layout, blobPath(d)))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func checkLayer(t *testing.T, layer []byte, diff digest.Digest) {
	t.Helper()
	packed, err := gzip.NewReader(bytes.NewReader(layer))
	if err != nil {
		t.Fatal(err)
	}
	if !packed.ModTime.IsZero() {
		t.Error("the compressed layer has a time in it")
	}
	raw, err := io.ReadAll(packed)
	if err != nil {
		t.Fatal(err)
	}
	if got := digest.FromBytes(raw); got != diff {
		t.Errorf("diff id %s, want %s", diff, got)
	}
	var names []string
	in := tar.NewReader(bytes.NewReader(raw))
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.ModTime.After(Epoch) || h.Uname != "" {
			t.Errorf("%s keeps time %v or owner %q", h.Name, h.ModTime, h.Uname)
		}
		switch h.Name {
		case "usr/bin/perl":
			if want := map[string]string{capability: "cap"}; !cmp.Equal(h.PAXRecords, want) {
				t.Errorf("attributes %v, want %v", h.PAXRecords, want)
			}
		case "usr/bin/perl5":
			if h.Linkname != "usr/bin/perl" {
				t.Errorf("hard link to %q", h.Linkname)
			}
		case "usr/share/doc/apt/copyright":
			if !h.ModTime.Equal(Epoch.Add(-time.Hour)) {
				t.Errorf("the package's own time became %v", h.ModTime)
			}
		}
	}
	want := []string{
		"dev/", "bin", "etc/passwd", "usr/bin/perl", "usr/bin/perl5", "usr/share/doc/apt/copyright",
		"var/lib/apt/lists/partial/", "var/lib/dpkg/status",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("layer (-want +got):\n%s", diff)
	}
}

func TestBootstrapIsDeterministic(t *testing.T) {
	t.Parallel()
	var digests []digest.Digest
	for i := range 3 {
		tarball := system(t, time.Now().Add(time.Duration(i)*time.Hour))
		b, err := Bootstrap(t.Context(), options(t, script(t, "cat "+tarball)))
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, b.Manifest.Digest)
	}
	if len(slices.Compact(digests)) != 1 {
		t.Errorf("the same packages gave %v", digests)
	}
}
