package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
	"github.com/llorch/llorch-bk/images"
)

// archived builds a lock into an archive, under the given conditions, and returns the digest
// of the platform's manifest.
func (p *project) archived(builder, lock string, change func(*exec.Cmd), flags ...string) string {
	p.t.Helper()
	return p.archivedBy(builder, lock, change, flags...).digest
}

// archive is an image in a file: its digest, and the program's output.
type archive struct{ digest, said string }

// archivedBy is archived, with the program's output.
func (p *project) archivedBy(builder, lock string, change func(*exec.Cmd), flags ...string) archive {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "image.tar")
	args := append([]string{"build", "--builder", builder, "--locked=" + lock, "--output", file, "--attest=false", "--progress", "plain"}, flags...)
	cmd := exec.CommandContext(p.t.Context(), binary, args...)
	var said bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stderr = p.dir, p.env, &said
	if change != nil {
		change(cmd)
	}
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatalf("%v: %v\n%s", args, err, tail(said.String(), 40))
	}
	_, digest, ok := strings.Cut(strings.SplitN(string(out), "\n", 2)[0], ", ")
	if !ok || !strings.HasPrefix(digest, "sha256:") {
		p.t.Fatalf("no digest in %q", out)
	}
	return archive{digest, said.String()}
}

// TestFixtureLocked checks that a lock gives one image: on two empty builders, at other times,
// in other folders, with other machine settings and other file times. Differences are named.
func TestFixtureLocked(t *testing.T) {
	p := fixture(t)
	repo := gitrepo.New(t, tinyengine.Tree())
	lock := filepath.Join(p.dir, images.LockFile)
	first := standalone(t)
	p.must("lock", "--builder", first.Addr, "--source", repo.Dir, "--ref", "HEAD", "--cpu", "x86-64-v3", "--no-ui")
	one := p.archived(first.Addr, lock, nil)
	again := p.archived(first.Addr, lock, nil, "--no-cache")

	second := standalone(t)
	elsewhere := filepath.Join(t.TempDir(), "another folder")
	if err := os.MkdirAll(elsewhere, 0o755); err != nil {
		t.Fatal(err)
	}
	// The checkout that is sent is made anew, with today's times.
	caches := t.TempDir()
	other := p.archived(second.Addr, lock, func(cmd *exec.Cmd) {
		cmd.Dir = elsewhere
		cmd.Env = append(cmd.Env, "TZ=Asia/Kathmandu", "LANG=de_DE.UTF-8", "LC_ALL=C.UTF-8", "SOURCE_DATE_EPOCH=1", "CFLAGS=-O0", "HOME="+elsewhere, "LLORCH_CACHE_DIR="+caches, "USER=somebody")
		wrapped := append([]string{"-c", `umask 027; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
		cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh"}, wrapped...)
	}, "--jobs", "1")
	t.Logf("%s, %s, %s", one, again, other)
	if one != again || one != other {
		t.Error("one lock gave several images")
	}

	data, err := os.ReadFile(lock)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := images.DecodeLock(data)
	if err != nil {
		t.Fatal(err)
	}
	// Another way in: no engine, since the builder alone does it.
	bare := *p
	bare.env = append(slices.Clone(p.env), "DOCKER_HOST=unix:///nonexistent/docker.sock")
	for name, f := range map[string]func(*testing.T, *project){
		"refused": func(t *testing.T, p *project) { lockRefused(t, p, second.Addr, data) },
		"pushed":  func(t *testing.T, p *project) { pushed(t, p, second.Addr, decoded) },
	} {
		t.Run(name, func(t *testing.T) {
			without := bare
			without.t = t
			f(t, &without)
		})
	}
	t.Run("a model", func(t *testing.T) {
		with := *p
		with.t = t
		lockedModel(t, &with, first.Addr)
	})
	t.Run("nothing to do", func(t *testing.T) {
		if got := p.archived(first.Addr, lock, nil); got != one {
			t.Errorf("%s, want %s", got, one)
		}
	})

	// One byte of a source file, in a commit of its own.
	file := filepath.Join(p.dir, "image.tar")
	p.must("build", "--builder", first.Addr, "--locked", "--output", file)
	kept := filepath.Join(p.dir, "kept")
	p.must("verify", "--builder", second.Addr, "--keep", kept, file)
	if _, err := os.Stat(kept); err == nil {
		t.Error("equal images were kept")
	}
	repo.Commit("one byte", map[string]string{"common/log.c": edited(t, "common/log.c", "") + "int e2e_one_byte(void) { return 1; }\n"})
	p.must("lock", "--builder", first.Addr, "--source", repo.Dir, "--ref", "HEAD", "--cpu", "x86-64-v3", "--no-ui", "--lock", "changed.lock")
	r := p.run("verify", "--builder", first.Addr, "--locked=changed.lock", "--keep", kept, "--json", file)
	r.wants(t, 4, "rebuilt image differs")
	var found struct {
		Differences []struct{ Layer, File, Kind string }
	}
	if err := json.Unmarshal([]byte(r.stdout), &found); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	var files []string
	for _, d := range found.Differences {
		if d.Layer != "" {
			files = append(files, d.Layer+" "+d.File+" "+d.Kind)
		}
	}
	slices.Sort(files)
	// The library that the file is in, the lock, and the server, which names the commit.
	want := []string{"common app/libllama-common.so.0 content", "llama-server app/libllama-server-impl.so content", "lock usr/share/llorch/llorch.lock content"}
	if !slices.Equal(files, want) {
		t.Errorf("it names %q, want %q", files, want)
	}
	for _, which := range []string{"image", "rebuilt"} {
		if _, err := os.Stat(filepath.Join(kept, which, "index.json")); err != nil {
			t.Error(err)
		}
	}
}

// pushed checks that a builder pushes an image and its attestations to a registry, that another
// client finds both there, and that verify accepts the image.
func pushed(t *testing.T, p *project, builder string, lock images.Lock) {
	t.Helper()
	reg := newRegistry(t)
	host := reg.host
	tag := host + "/llama:locked"
	r := p.must("build", "--builder", builder, "--locked", "--push", "--tag", tag, "--tag", host+"/llama:second")
	ref, err := name.ParseReference(tag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	desc, err := remote.Get(ref)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.stdout, "pushed "+tag+"@"+desc.Digest.String()) {
		t.Errorf("the registry has %s, and the program says:\n%s", desc.Digest, r.stdout)
	}
	index, err := desc.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	stated := statements(t, index)
	for _, predicate := range []string{"https://spdx.dev/Document", "https://slsa.dev/provenance/v1", "https://github.com/llorch/llorch-bk/predicates/device-code/v1"} {
		if stated[predicate] == nil {
			t.Errorf("nothing is stated as %s", predicate)
		}
	}
	var sbom struct {
		Packages []struct{ Name, VersionInfo string }
	}
	if err := json.Unmarshal(stated["https://spdx.dev/Document"], &sbom); err != nil {
		t.Fatal(err)
	}
	for _, pkg := range lock.Platforms["linux/amd64"].Packages.Runtime {
		if !slices.ContainsFunc(sbom.Packages, func(s struct{ Name, VersionInfo string }) bool {
			return s.Name == pkg.Name && s.VersionInfo == pkg.Version
		}) {
			t.Errorf("the SBOM lacks %s %s", pkg.Name, pkg.Version)
		}
	}
	p.must("verify", "--builder", builder, tag)
	p.run("build", "--builder", builder, "--push", "--tag", "127.0.0.1:1/llama:x", "--locked").wants(t, 4, "the push failed")
	p.run("build", "--push").wants(t, 2, "--tag")
}

// statements are the predicates of an index by their type.
func statements(t *testing.T, index v1.ImageIndex) map[string]json.RawMessage {
	t.Helper()
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]json.RawMessage{}
	for _, m := range manifest.Manifests {
		if m.Platform == nil || m.Platform.OS != "unknown" {
			continue
		}
		img, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range layers {
			r, err := l.Uncompressed()
			if err != nil {
				t.Fatal(err)
			}
			var s struct {
				PredicateType string          `json:"predicateType"`
				Predicate     json.RawMessage `json:"predicate"`
				Subject       []struct{ Digest map[string]string }
			}
			err = json.NewDecoder(r).Decode(&s)
			r.Close()
			if err != nil {
				t.Fatal(err)
			}
			out[s.PredicateType] = s.Predicate
			var about []string
			for _, of := range s.Subject {
				about = append(about, of.Digest["sha256"])
			}
			if !slices.ContainsFunc(manifest.Manifests, func(m v1.Descriptor) bool { return slices.Contains(about, m.Digest.Hex) }) {
				t.Errorf("%s is about %s, which is not here", s.PredicateType, fmt.Sprint(about))
			}
		}
	}
	return out
}
