package e2e

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/container"
	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/testbase"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
)

// TestModernManagedContainer checks that a builder in a container is started once, reused and
// removed by prune. Its image is a substitute for BuildKit's own: the same programs on our
// base. The test is in this tier because an engine of 20.10 starts no privileged container on a
// machine that lacks a capability.
func TestModernManagedContainer(t *testing.T) {
	gate(t, "LLORCH_E2E_MODERN", "modern")
	p, programs := managed(t)
	p.must("setup", "--yes")
	if _, err := p.api.ContainerInspect(t.Context(), "llorch-bk-builder"); err == nil {
		t.Skip("this engine has a builder of its user's, which is not touched")
	}
	const image, tag = "llorch-e2e:buildkit", "llorch-e2e:managed"
	builderImage(t, p, programs, image)
	t.Cleanup(func() { removeImages(t, p.api, tag, image) })
	p.setenv("LLORCH_BUILDER_IMAGE", image)
	repo := gitrepo.New(t, tinyengine.Tree())
	metadata := filepath.Join(p.dir, "metadata.json")
	args := []string{"build", "--builder", "managed", "--source", repo.Dir, "--ref", "HEAD", "--tag", tag, "--metadata-file", metadata}

	r := p.must(args...)
	if !strings.Contains(r.stderr, "in the container llorch-bk-builder") || strings.Contains(r.stderr, "in the background") {
		t.Fatalf("no builder was started in a container:\n%.3000s", r.stderr)
	}
	// An engine's restart stops it; its disk stays.
	if err := p.api.ContainerStop(t.Context(), "llorch-bk-builder", container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	if l := left(t, p, "builders"); len(l) != 1 || l[0].Note != "a container, stopped" {
		t.Errorf("prune finds %+v", l)
	}
	p.must(args...)
	if ran := compiled(t, metadata); len(ran) > 0 {
		t.Errorf("compiled %q again", ran)
	}
	if l := left(t, p, "builders"); len(l) != 1 || l[0].Bytes == 0 {
		t.Errorf("prune finds %+v", l)
	}
	p.must("run", tag, "--model", p.model())
	p.must("prune", "builders", "--yes")
	if _, err := p.api.ContainerInspect(t.Context(), "llorch-bk-builder"); err == nil {
		t.Error("the container is still there")
	}
	if _, err := p.api.VolumeInspect(t.Context(), "llorch-bk-builder"); err == nil {
		t.Error("the volume is still there")
	}
}

// builderImage makes an image with those files of BuildKit's own image that a builder needs.
func builderImage(t *testing.T, p *project, programs, name string) {
	t.Helper()
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Skip("a builder needs runc")
	}
	files := map[string]string{"bin/buildkitd": programs + "/buildkitd", "bin/buildctl": programs + "/buildctl", "bin/runc": runc}
	out, err := exec.Command("ldd", runc).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`=> (/\S+/(libseccomp\S+))`).FindAllStringSubmatch(string(out), -1) {
		files["lib/"+m[2]] = m[1]
	}
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	add := func(name string, mode int64, data []byte) {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	add("Dockerfile", 0o644, []byte("FROM "+testbase.Tag(t, p.api)+"\nCOPY bin/ /usr/local/bin/\nCOPY lib/ /usr/local/lib/\nRUN ldconfig\nENTRYPOINT [\"buildkitd\"]\n"))
	for to, from := range files {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		add(to, 0o755, data)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	resp, err := p.api.ImageBuild(t.Context(), &buf, build.ImageBuildOptions{Tags: []string{name}, Remove: true})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.api.ImageInspect(t.Context(), name); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
}
