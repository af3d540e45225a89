package base

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
)

// TestRealBootstrap runs mmdebstrap and an engine. It needs root or user
// namespaces, a package mirror and, in the containers, the network.
func TestRealBootstrap(t *testing.T) {
	if os.Getenv("LLORCH_TEST_BOOTSTRAP") != "1" {
		t.Skip("bootstraps a real Debian: set LLORCH_TEST_BOOTSTRAP=1")
	}
	o := Options{Dir: t.TempDir(), Log: func(l string) { t.Log(l) }}
	b, err := Bootstrap(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("layer of %d bytes, manifest %s", b.Layers[0].Size, b.Manifest.Digest)

	t.Run("interrupted", func(t *testing.T) {
		o := Options{Dir: t.TempDir()}
		ctx, interrupt := context.WithCancel(t.Context())
		o.Log = func(l string) {
			if strings.Contains(l, "installing essential packages") {
				interrupt()
			}
		}
		begun := time.Now()
		if _, err := Bootstrap(ctx, o); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want the interruption", err)
		}
		t.Logf("interrupted after %v", time.Since(begun))
		if left := leftovers(t, o.Dir); left != nil {
			t.Errorf("left behind: %v", left)
		}
	})
	t.Run("same bytes", func(t *testing.T) {
		again, err := Bootstrap(t.Context(), Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		if again.Manifest.Digest != b.Manifest.Digest {
			t.Errorf("a second bootstrap gave %s, the first %s", again.Manifest.Digest, b.Manifest.Digest)
		}
	})
	t.Run("in an engine", func(t *testing.T) { inEngine(t, b) })
}

func inEngine(t *testing.T, b Base) {
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	if _, err := engine.Ping(t.Context()); err != nil {
		t.Skipf("no engine answers: %v", err)
	}
	// A name of the test's own, since the real one may be in use here.
	b.Ref = "llorch.local/test-bootstrap:trixie"
	t.Cleanup(func() {
		if _, err := engine.ImageRemove(context.Background(), b.Ref, image.RemoveOptions{}); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		if err := b.LoadInto(t.Context(), engine); err != nil {
			t.Fatal(err)
		}
	}
	const script = `set -e
apt-get update -qq
apt-get install -y -qq --no-install-recommends gcc libc6-dev >/dev/null
printf 'int main(void){return 0;}' >/tmp/a.c && gcc -o /tmp/a /tmp/a.c && /tmp/a
test -f /usr/share/doc/gcc/copyright && test ! -e /usr/share/man/man1/gcc.1.gz
apt-cache policy | grep -q trixie-security && echo with security
cat /etc/debian_version`
	created, err := engine.ContainerCreate(t.Context(), &container.Config{Image: b.Ref, Cmd: []string{"sh", "-c", script}}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.ContainerRemove(context.Background(), created.ID, container.RemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	})
	done, failed := engine.ContainerWait(t.Context(), created.ID, container.WaitConditionNextExit)
	if err := engine.ContainerStart(t.Context(), created.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	var code int64
	select {
	case err := <-failed:
		t.Fatal(err)
	case end := <-done:
		code = end.StatusCode
	}
	logs, err := engine.ContainerLogs(t.Context(), created.ID, container.LogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	var out bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &out, logs); err != nil {
		t.Fatal(err)
	}
	t.Logf("the container said:\n%s", out.String())
	if code != 0 || !strings.Contains(out.String(), "13.") {
		t.Errorf("the container ended with %d", code)
	}
}
