package buildkit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	dockerclient "github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/llorch/llorch-bk/fixtures/testbase"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/source"
	"github.com/moby/buildkit/client"
)

// The base that these tests stand on.
const testBase = testbase.Ref

// engine is the Docker engine that the tests of this file are about.
func engine(t *testing.T) *dockerclient.Client {
	t.Helper()
	if os.Getenv(testbase.Gate) != "1" {
		t.Skip("needs a Docker engine: set " + testbase.Gate + "=1")
	}
	docker, err := dockerclient.NewClientWithOpts(dockerclient.FromEnv, dockerclient.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { docker.Close() })
	testbase.Image(t, docker)
	return docker
}

// embedded is the BuildKit inside the engine.
func embedded(t *testing.T, docker *dockerclient.Client) *Builder {
	t.Helper()
	b, err := Dial(t.Context(), Auto, docker, TLS{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// tree is a git repository that looks like llama.cpp, with files replaced or added.
func tree(t *testing.T, change map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/tree")); err != nil {
		t.Fatal(err)
	}
	for name, text := range change {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"commit", "-q", "-m", "import"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.com",
			"GIT_AUTHOR_DATE=2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return dir
}

// prepare goes from a folder to a job, as the program does.
func prepare(t *testing.T, b *Builder, dir string, flags ...string) Job {
	t.Helper()
	c, err := source.Resolver{Dir: t.TempDir()}.Resolve(t.Context(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	level := map[string]string{"amd64": "x86-64-v1", "arm64": "armv8-a"}[runtime.GOARCH]
	r, err := images.Request{
		Source: c.Location, Variant: "cpu", Platform: "linux/" + runtime.GOARCH, Base: testBase, CPU: level,
		CMakeFlags: flags, Tags: []string{"llorch-test/" + strings.ToLower(t.Name()) + ":latest"},
	}.Normalise()
	if err != nil {
		t.Fatal(err)
	}
	f, err := b.Collect(t.Context(), Query{Request: r, Checkout: c, Notice: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(fault.Report(err))
	}
	p, err := images.MakePlan(r, f.Facts)
	if err != nil {
		t.Fatal(err)
	}
	return Job{Plan: p, Capabilities: f.Capabilities, Source: c.Content}
}

// steps records which steps of a build ran and which came from the cache.
type steps struct {
	mu     sync.Mutex
	cached map[string]bool
	log    bytes.Buffer
}

func (s *steps) update(st *client.SolveStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range st.Logs {
		s.log.Write(l.Data)
	}
}

// of says whether the one step with this prefix was cached.
func (s *steps) of(t *testing.T, prefix string) bool {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, cached := range s.cached {
		if strings.HasPrefix(name, prefix) {
			return cached
		}
	}
	t.Fatalf("the build has no step %q; it has %v", prefix, s.cached)
	return false
}

// build runs a job in the engine; the image goes when the test ends.
func build(t *testing.T, docker *dockerclient.Client, b *Builder, j Job) (Result, *steps) {
	t.Helper()
	s := &steps{cached: map[string]bool{}}
	j.Status = s.update
	res, err := b.Build(t.Context(), j)
	if err != nil {
		t.Fatalf("%s\n%s", fault.Report(err), s.log.String())
	}
	for _, step := range res.Steps {
		s.cached[step.Name] = step.Cached
	}
	t.Cleanup(func() {
		// By its id, since a later build may have taken the name. Not t.Context(): it
		// has ended by now.
		if _, err := docker.ImageRemove(context.Background(), res.Digest, image.RemoveOptions{Force: true}); err != nil && !errdefs.IsNotFound(err) {
			t.Error(err)
		}
	})
	return res, s
}

// started runs an image the way that the runtime does.
func started(t *testing.T, docker *dockerclient.Client, img string, args ...string) string {
	t.Helper()
	c, err := docker.ContainerCreate(t.Context(), &container.Config{Image: img, Cmd: args},
		&container.HostConfig{ReadonlyRootfs: true, CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges"}}, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := docker.ContainerRemove(context.Background(), c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
			t.Error(err)
		}
	})
	if err := docker.ContainerStart(t.Context(), c.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	return c.ID
}

func logs(t *testing.T, docker *dockerclient.Client, id string) string {
	t.Helper()
	r, err := docker.ContainerLogs(t.Context(), id, container.LogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &out, r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// execIn runs a command in a container and returns its exit code and output.
func execIn(t *testing.T, docker *dockerclient.Client, id string, args ...string) (int, string) {
	t.Helper()
	e, err := docker.ContainerExecCreate(t.Context(), id, container.ExecOptions{Cmd: args, AttachStdout: true, AttachStderr: true})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := docker.ContainerExecAttach(t.Context(), e.ID, container.ExecAttachOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var out bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &out, conn.Reader); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	state, err := docker.ContainerExecInspect(t.Context(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	return state.ExitCode, out.String()
}
