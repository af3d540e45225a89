package app

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

// stocked is a program with a store that has one model of its own, and no engine.
func stocked(t *testing.T) (*App, *store.Store, store.Stored) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "models")
	env := map[string]string{"LLORCH_MODEL_DIR": dir, "HOME": t.TempDir(), "DOCKER_HOST": "unix:///no/such/docker.sock"}
	a := &App{Out: t.Output(), Err: t.Output(), Getenv: func(name string) string { return env[name] }, Progress: "quiet"}
	file := filepath.Join(t.TempDir(), "m.gguf")
	if err := os.WriteFile(file, gguf.Minimal(), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	commit := strings.Repeat("1", 40)
	if err := s.Accept(t.Context(), store.Carried{
		Path: file, Size: int64(len(gguf.Minimal())), SHA256: strings.Repeat("a", 64),
		File: "models--o--r/snapshots/" + commit + "/m.gguf", Revision: "main", Ref: "hf:o/r",
	}); err != nil {
		t.Fatal(err)
	}
	all, err := s.List()
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	return a, s, all[0]
}

func there(m store.Stored) bool {
	_, err := os.Stat(m.Path)
	return err == nil
}

// A model that a run has found, and whose container is not there yet, is not removed.
func TestRemoveBesideARun(t *testing.T) {
	t.Parallel()
	a, run, m := stocked(t)
	if err := run.Hold(t.Context(), m.Path); err != nil {
		t.Fatal(err)
	}
	_, err := a.RemoveModels(t.Context(), []string{"hf:o/r"}, RemoveOptions{})
	if fault.ClassOf(err) != fault.Usage || !errors.Is(err, store.ErrInUse) || !there(m) {
		t.Errorf("%v", err)
	}
	gone, err := a.CollectModels(t.Context(), GCOptions{Keep: "0", Yes: true})
	if err != nil || len(gone) != 0 || !there(m) {
		t.Errorf("%+v, %v", gone, err)
	}
	run.Release()
	gone, err = a.CollectModels(t.Context(), GCOptions{Keep: "0", Yes: true})
	if err != nil || len(gone) != 1 || !gone[0].Removed || gone[0].Bytes != m.Size || there(m) {
		t.Errorf("%+v, %v", gone, err)
	}
}

// Where no engine can be asked, the handoff of a project that uses the store still says
// what is served.
func TestRemoveWhatAHandoffNames(t *testing.T) {
	t.Parallel()
	a, s, m := stocked(t)
	project := t.TempDir()
	s.Folder(ref.Ref{Kind: ref.Hub, Repo: "o/r"}).Use(strings.Repeat("1", 40), "m.gguf", "hf:o/r", project, time.Now())
	if _, err := handoff.Write(project, handoff.Handoff{
		Engine: handoff.EngineLlamaCPP, PoolID: "default", ReplicaID: "r0", Schema: handoff.Schema,
		Model: handoff.Model{ID: "hf:o/r", Path: m.Path}, Container: handoff.Container{ID: "c"},
	}); err != nil {
		t.Fatal(err)
	}
	_, err := a.RemoveModels(t.Context(), []string{"hf:o/r"}, RemoveOptions{})
	if fault.ClassOf(err) != fault.Usage || !strings.Contains(fault.Report(err), "llorch-bk stop default") || !there(m) {
		t.Errorf("%v", err)
	}
	gone, err := a.CollectModels(t.Context(), GCOptions{Keep: "0", Yes: true})
	if err != nil || len(gone) != 0 || !there(m) {
		t.Errorf("%+v, %v", gone, err)
	}
}
