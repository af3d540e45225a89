package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"
	"github.com/llorch/llorch-bk/fixtures/hub"
)

// TestFixtureFullDisk checks that a model that does not fit is refused with both sizes and
// leaves nothing, and that it is downloaded once there is space.
func TestFixtureFullDisk(t *testing.T) {
	p := fixture(t)
	if os.Geteuid() != 0 {
		t.Skip("a small file system can be mounted by root only")
	}
	store := t.TempDir()
	if err := syscall.Mount("tmpfs", store, "tmpfs", 0, "size=1m,mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(store, syscall.MNT_DETACH) })
	h := hub.New(t)
	data, err := os.ReadFile(p.model())
	if err != nil {
		t.Fatal(err)
	}
	h.Add("org/tiny", "tiny.gguf", data)
	p.setenv("HF_ENDPOINT", h.Endpoint())
	p.setenv("LLORCH_MODEL_DIR", store)
	p.run("run", fixtureTag, "--model", "hf:org/tiny/tiny.gguf").wants(t, 5, "MB", store)
	p.leftNothing()
	if left := filesIn(t, store); len(left) > 0 {
		t.Errorf("the store was left with %v", left)
	}
	if err := syscall.Mount("tmpfs", store, "tmpfs", syscall.MS_REMOUNT, "size=64m,mode=755"); err != nil {
		t.Fatal(err)
	}
	p.must("run", fixtureTag, "--model", "hf:org/tiny/tiny.gguf")
	p.must("stop")
	// A volume of the engine holds the folder until it is gone.
	vols, err := p.api.VolumeList(t.Context(), volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", "dev.llorch.role=model"))})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vols.Volumes {
		if strings.HasPrefix(v.Options["device"], store) {
			_ = p.api.VolumeRemove(t.Context(), v.Name, true)
		}
	}
}
