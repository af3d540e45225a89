package handoff_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"golang.org/x/sync/errgroup"
)

func sample(pool, replica string) handoff.Handoff {
	return handoff.Handoff{
		Engine: handoff.EngineLlamaCPP, EngineVersion: "b1-abc", ProvisioningMode: handoff.ModeSource,
		URL: "http://127.0.0.1:4242", PoolID: pool, ReplicaID: replica,
		Model:  handoff.Model{ID: "file:/m/a&b.gguf", Path: "/m/a&b.gguf"},
		Schema: handoff.Schema, Image: handoff.Image{Ref: "r", ID: "sha256:1", Recipe: "sha256:2"},
		Container: handoff.Container{ID: "c", Name: "n"}, RunDigest: "sha256:3", Commit: "de3ff81",
		StartedAt: time.Date(2026, 11, 2, 3, 4, 5, 999, time.FixedZone("", 3600)),
		ReadyAt:   time.Date(2026, 11, 2, 3, 4, 9, 0, time.UTC),
	}
}

func TestWriteIsTheContract(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "engines")
	path, err := handoff.Write(dir, sample("default", "r0"))
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "llamacpp.json"); path != want {
		t.Errorf("path = %s, want %s", path, want)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "engine": "llamacpp",
  "engine_version": "b1-abc",
  "provisioning_mode": "source",
  "url": "http://127.0.0.1:4242",
  "pool_id": "default",
  "replica_id": "r0",
  "model": {
    "id": "file:/m/a&b.gguf",
    "path": "/m/a&b.gguf"
  },
  "flags": [],
  "schema": 1,
  "image": {
    "ref": "r",
    "id": "sha256:1",
    "recipe": "sha256:2"
  },
  "container": {
    "id": "c",
    "name": "n"
  },
  "run_digest": "sha256:3",
  "commit": "de3ff81",
  "started_at": "2026-11-02T02:04:05Z",
  "ready_at": "2026-11-02T03:04:09Z"
}
`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("file (-want +got):\n%s", d)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o644 {
		t.Errorf("mode = %v, want 0644", info.Mode())
	}
	back, err := handoff.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if back.PoolID != "default" || back.Model.Path != "/m/a&b.gguf" || back.Flags == nil {
		t.Errorf("read back %+v", back)
	}
}

// A consumer that looks all the time never sees half a file, nor a second name
// that ends in .json.
func TestReadersSeeOnlyWholeFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := sample("default", "r0")
	h.Flags = []string{strings.Repeat("x", 1<<16)}
	var writers sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		writers.Go(func() {
			for range 50 {
				if _, err := handoff.Write(dir, h); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() { writers.Wait(); close(done) }()
	for {
		names, err := filepath.Glob(filepath.Join(dir, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		hidden, _ := filepath.Glob(filepath.Join(dir, ".*.json"))
		for _, n := range append(names, hidden...) {
			if filepath.Base(n) != "llamacpp.json" {
				t.Fatalf("a consumer would take %s", n)
			}
			if _, err := handoff.Read(n); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-done:
			left, _ := os.ReadDir(dir)
			if len(left) != 1 {
				t.Errorf("left in the folder: %v", left)
			}
			return
		default:
		}
	}
}

func TestFileNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ pool, replica, want string }{
		{"default", "r0", "llamacpp.json"},
		{"default", "r1", "llamacpp-default-r1.json"},
		{"a-b", "c", "llamacpp-a-b-c.json"},
	} {
		if got := handoff.FileName(c.pool, c.replica); got != c.want {
			t.Errorf("FileName(%q, %q) = %q, want %q", c.pool, c.replica, got, c.want)
		}
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	id := sample("p", "r0").Container.ID
	if err := handoff.Remove(dir, "p", "r0", id); err != nil {
		t.Errorf("an absent file: %v", err)
	}
	path, err := handoff.Write(dir, sample("p", "r0"))
	if err != nil {
		t.Fatal(err)
	}
	// One that has come to tell of another container is true of that.
	if err := handoff.Remove(dir, "p", "r0", "another"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("another container's handoff is gone: %v", err)
	}
	if err := handoff.Remove(dir, "p", "r0", id); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	for name, body := range map[string]string{
		"another pool's": `{"pool_id":"q","replica_id":"r0"}`,
		"not ours":       `{"pool_id":`,
	} {
		if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := handoff.Remove(dir, "p", "r0", ""); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%s: it was removed", name)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := handoff.Write(filepath.Join(file, "x"), sample("p", "r0")); fault.ClassOf(err) != fault.Machine {
		t.Errorf("below a file: %v", err)
	}
	if _, err := handoff.Write(dir, sample("../p", "r0")); fault.ClassOf(err) != fault.Usage {
		t.Errorf("a pool that is a path: %v", err)
	}
}

// TestCheckWritableBesideOthers holds that starts at the same moment in a new
// project do not take each other's folder away.
func TestCheckWritableBesideOthers(t *testing.T) {
	t.Parallel()
	for range 50 {
		dir := filepath.Join(t.TempDir(), "a", "b")
		var g errgroup.Group
		for range 8 {
			g.Go(func() error { return handoff.CheckWritable(dir) })
		}
		g.Go(func() error {
			_, err := handoff.Write(dir, sample("p", "r0"))
			return err
		})
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCheckWritable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := handoff.CheckWritable(filepath.Join(dir, "a", "b", "c")); err != nil {
		t.Error(err)
	}
	if err := handoff.CheckWritable(dir); err != nil {
		t.Error(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := handoff.CheckWritable(filepath.Join(file, "x")); fault.ClassOf(err) != fault.Usage {
		t.Errorf("below a file: %v", err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	if err := handoff.CheckWritable(link); fault.ClassOf(err) != fault.Usage {
		t.Errorf("a link that leads nowhere: %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 2 {
		t.Errorf("it left %v", left)
	}
}

func TestWriteGPU(t *testing.T) {
	t.Parallel()
	h := sample("default", "r0")
	h.DeviceMask = "all"
	h.GPU = &handoff.GPU{
		Backend: "CUDA", Devices: []handoff.Device{{Name: "CUDA0", Description: "NVIDIA GeForce RTX 3090"}},
		Evidence: []string{"load_tensors: offloaded 33/33 layers to GPU"},
	}
	body, err := h.JSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`  "gpu": {
    "backend": "CUDA",
    "devices": [
      {
        "name": "CUDA0",
        "description": "NVIDIA GeForce RTX 3090"
      }
    ],
    "evidence": [
      "load_tensors: offloaded 33/33 layers to GPU"
    ]
  },`, `"device_mask": "all"`} {
		if !strings.Contains(string(body), want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if all, err := handoff.List(filepath.Join(dir, "absent")); err != nil || all != nil {
		t.Errorf("a folder that is absent: %v, %v", all, err)
	}
	for _, id := range [][2]string{{"default", "r0"}, {"my-pool", "r1"}} {
		if _, err := handoff.Write(dir, sample(id[0], id[1])); err != nil {
			t.Fatal(err)
		}
	}
	for name, body := range map[string]string{
		"vllm.json": "{}", "llamacpp-notes.txt": "", "llamacpp-x.json": "{}", // no handoff's name
		"llamacpp-a-r0.json": `{"pool_id":"b","replica_id":"r0"}`, "llamacpp-c-r0.json": "{",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "llamacpp-d-r0.json"), 0o755); err != nil {
		t.Fatal(err)
	}
	all, err := handoff.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range all {
		text := e.Pool + "/" + e.Replica + " " + e.Handoff.Container.ID
		if e.Err != nil {
			text = e.Pool + "/" + e.Replica + " is none"
		}
		got = append(got, text)
	}
	c := sample("p", "r0").Container.ID
	want := []string{"a/r0 is none", "c/r0 is none", "d/r0 is none", "my-pool/r1 " + c, "default/r0 " + c}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestResolve(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"link": "real", "nowhere": "none"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	for in, want := range map[string]string{
		"real":           "real",
		"link":           "real",
		"link/a/b":       "real/a/b",
		"a/../link/x":    "real/x",
		"absent/engines": "absent/engines",
		// Said by whoever is to use it.
		"nowhere/x": "nowhere/x",
	} {
		got, err := handoff.Resolve(in)
		if err != nil || got != filepath.Join(dir, want) {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
}
