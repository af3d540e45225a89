package buildkit

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/objects"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/sshforward"
)

// A session lends the socket where there is something to carry, and never to a build from
// a lock. The socket is BuildKit's own, as a step has it.
func TestBuildLendsASocket(t *testing.T) {
	t.Parallel()
	reg := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(reg.Close)
	ref := objects.Ref{Name: strings.TrimPrefix(reg.URL, "http://") + "/cache:llama-objects"}
	pinned := func(j *Job) {
		j.Plan.Packages = []images.Package{{Name: "gcc", Version: "1", Architecture: "amd64", SHA256: strings.Repeat("1", 64), Size: 1, Path: "pool/gcc.deb"}}
	}
	for name, c := range map[string]struct {
		objects objects.Config
		change  func(*Job)
		want    int
	}{
		"nothing to carry":  {objects.Config{}, nil, 0},
		"a cache to read":   {objects.Config{From: []objects.Ref{ref}}, nil, http.StatusForbidden},
		"a cache to write":  {objects.Config{To: &ref}, nil, http.StatusOK},
		"locked, and both":  {objects.Config{From: []objects.Ref{ref}, To: &ref}, pinned, 0},
		"a cache elsewhere": {objects.Config{From: []objects.Ref{{Name: "127.0.0.1:1/cache:llama-objects"}}}, nil, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := 0
			d := serve(t, &daemon{export: func(ctx context.Context, c session.Caller) (_ map[string]string, err error) {
				if sshforward.CheckSSHID(ctx, c, llb.ObjectsSocket) == nil {
					got, err = asked(ctx, c)
				}
				return nil, err
			}})
			j := job(t)
			if c.change != nil {
				c.change(&j)
			}
			j.Caches.Objects = c.objects
			j.Engine = loader(func(_ context.Context, r io.Reader) (string, error) {
				_, err := io.Copy(io.Discard, r)
				return "{}", err
			})
			if _, err := d.embed(t).Build(t.Context(), j); err != nil {
				t.Fatal(err)
			}
			if got != c.want {
				t.Errorf("a step that asks whether its objects are wanted gets %d, want %d", got, c.want)
			}
		})
	}
}

// The objects of every platform of an index are this build's, and the last to go.
func TestCarryHasTheSlotsOfEveryPlatform(t *testing.T) {
	t.Parallel()
	j := job(t)
	other := j.Plan
	other.Platform, other.Cross = "linux/arm64", &images.PlanCross{Builder: "linux/amd64", Triple: "aarch64-linux-gnu"}
	j.Others = []images.Plan{other}
	j.Caches.Objects = objects.Config{To: &objects.Ref{Name: "127.0.0.1:1/cache:llama-objects"}}
	c, err := carry(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if want := 2 * len(j.Plan.Parts); len(slices.Compact(slices.Sorted(slices.Values(c.slots)))) != want {
		t.Errorf("%d slots, want %d: %q", len(c.slots), want, c.slots)
	}
}

// asked asks through a socket that BuildKit makes for a step.
func asked(ctx context.Context, c session.Caller) (int, error) {
	socket, release, err := sshforward.MountSSHSocket(ctx, c, sshforward.SocketOpt{ID: llb.ObjectsSocket, UID: -1, GID: -1, Mode: 0o600})
	if err != nil {
		return 0, err
	}
	defer func() { _ = release() }()
	step := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://llorch-bk/wanted", nil)
	if err != nil {
		return 0, err
	}
	resp, err := step.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}
