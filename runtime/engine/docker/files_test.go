package docker_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/mount"
	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/engine/docker"
)

// withFiles is a spec whose server reads a template, a draft in two files, a folder
// and a key, and writes to a folder.
func withFiles(t *testing.T) engine.Spec {
	t.Helper()
	s := onDisk(t)
	dir := t.TempDir()
	add := func(n, name string, secret bool) {
		host := filepath.Join(dir, name)
		if err := os.WriteFile(host, []byte("content of "+name), 0o644); err != nil {
			t.Fatal(err)
		}
		s.Files = append(s.Files, engine.File{Host: host, Path: "/files/" + n + "/" + name, Digest: name, Secret: secret})
	}
	add("0", "chat.jinja", false)
	add("1", "d-00001-of-00002.gguf", false)
	add("1", "d-00002-of-00002.gguf", false)
	add("2", "key", true)
	s.Files = append(s.Files, engine.File{Host: dir, Path: "/files/3/public", Folder: true})
	s.Volumes = []engine.Volume{{Name: "slots"}}
	return s
}

// mountsOf are the mounts of a server beside its model, by target.
func mountsOf(f *fake, id string) map[string]mount.Mount {
	out := map[string]mount.Mount{}
	for _, m := range f.containers[id].host.Mounts {
		if m.Target != "/models" {
			out[m.Target] = m
		}
	}
	return out
}

// What the engine sees and the server's user can read is shown as it is, read-only.
func TestFiles(t *testing.T) {
	t.Parallel()
	f, s := newFake(), withFiles(t)
	f.probe = "/probe"
	i, err := start(t.Context(), f.engine(), s)
	if err != nil {
		t.Fatal(err)
	}
	got := mountsOf(f, i.ID)
	for _, file := range s.Files {
		m := got[file.Path]
		if m.Type != mount.TypeBind || m.Source != file.Host || !m.ReadOnly {
			t.Errorf("%s: %+v", file.Path, m)
		}
	}
	state := got["/state"]
	if state.Type != mount.TypeVolume || state.ReadOnly || state.Source != s.Of().Name()+"-state" {
		t.Errorf("what is written goes to %+v", state)
	}
	if len(got) != len(s.Files)+1 {
		t.Errorf("mounts: %v", got)
	}
	if left, _ := f.left(); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// Where the engine does not see this machine's files, they are copied: once for all
// servers, but a secret into the one container only.
func TestFilesAreCopied(t *testing.T) {
	t.Parallel()
	f, s := newFake(), withFiles(t)
	s.Files = slices.DeleteFunc(s.Files, func(f engine.File) bool { return f.Folder })
	f.noBinds = true
	i, err := start(t.Context(), f.engine(), s)
	if err != nil {
		t.Fatal(err)
	}
	got := mountsOf(f, i.ID)
	want := map[string][]string{
		"/files/0": {".llorch-complete", "chat.jinja"},
		"/files/1": {".llorch-complete", "d-00001-of-00002.gguf", "d-00002-of-00002.gguf"},
	}
	for target, files := range want {
		m := got[target]
		if m.Type != mount.TypeVolume || !m.ReadOnly || f.volumes[m.Source] == nil {
			t.Fatalf("%s: %+v", target, m)
		}
		var has []string
		for name := range f.volumes[m.Source].files {
			has = append(has, name)
		}
		slices.Sort(has)
		if d := cmp.Diff(files, has); d != "" {
			t.Errorf("%s (-want +got):\n%s", target, d)
		}
	}
	secret := got["/files/2"]
	if secret.Type != mount.TypeVolume || secret.Source != "" {
		t.Errorf("the secret is in %+v, want a volume without a name", secret)
	}
	for name, v := range f.volumes {
		if _, ok := v.files["key"]; ok {
			t.Errorf("the secret stays in the volume %s", name)
		}
	}
	if got := f.put["/files/2/key"]; got.mode != 0o440 || got.gid != 65532 {
		t.Errorf("the secret in the container: %+v, want it for the server's group alone", got)
	}
	if got := f.put["/state/slots/"]; got.uid != 65532 || got.gid != 65532 {
		t.Errorf("the folder that is written to: %+v, want it to be the server's", got)
	}
	// A second replica uses the copies that are there; another content is another copy.
	again := s
	again.Replica = "r1"
	j, err := start(t.Context(), f.engine(), again)
	if err != nil || mountsOf(f, j.ID)["/files/0"].Source != got["/files/0"].Source {
		t.Errorf("copied again, or %v", err)
	}
	again.Replica, again.Files = "r2", slices.Clone(s.Files)
	again.Files[0].Digest = "changed"
	j, err = start(t.Context(), f.engine(), again)
	if err != nil || mountsOf(f, j.ID)["/files/0"].Source == got["/files/0"].Source {
		t.Errorf("a copy of another content was used, or %v", err)
	}
}

// A file that the server's user may not read is copied too, and a secret as well.
func TestFilesThatAreClosed(t *testing.T) {
	t.Parallel()
	f, s := newFake(), withFiles(t)
	f.probe = "/probe"
	f.unreadable = func(m mount.Mount) bool { return m.Type == mount.TypeBind }
	i, err := start(t.Context(), f.engine(), s)
	if err != nil {
		t.Fatal(err)
	}
	got := mountsOf(f, i.ID)
	for target, named := range map[string]bool{"/files/0": true, "/files/1": true, "/files/2": false} {
		if m := got[target]; m.Type != mount.TypeVolume || (m.Source != "") != named {
			t.Errorf("%s: %+v", target, m)
		}
	}
}

func TestFilesThatCannotBeGiven(t *testing.T) {
	t.Parallel()
	f, s := newFake(), withFiles(t)
	s.Listen = "0.0.0.0"
	far := docker.New(f, engine.Endpoint{Host: "tcp://far:2376", Source: "DOCKER_HOST"}, nil)
	_, err := start(t.Context(), far, s)
	if fault.ClassOf(err) != fault.Machine || !strings.Contains(err.Error(), "the folder "+filepath.Dir(s.Files[0].Host)) || !strings.Contains(err.Error(), "tcp://far:2376") {
		t.Errorf("a folder on a remote engine: %v", err)
	}
	f, s = newFake(), withFiles(t)
	if err := os.Remove(s.Files[0].Host); err != nil {
		t.Fatal(err)
	}
	if _, err := start(t.Context(), f.engine(), s); fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), "chat.jinja") {
		t.Errorf("a file that went away: %v", err)
	}
	if left, _ := f.left(); left != nil {
		t.Errorf("left: %v", left)
	}
}
