package docker_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/health"
)

func TestDockerRunsConfined(t *testing.T) {
	t.Parallel()
	d, api, s := real(t, "serve", "2")
	s.GPUCache, s.Memory = true, 256<<20
	t.Cleanup(func() { _ = api.VolumeRemove(context.WithoutCancel(t.Context()), "llorch-gpu-cache-65532-65532", true) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	i, err := start(ctx, d, s)
	if err != nil {
		t.Fatal(fault.Report(err))
	}
	var phases []string
	w := d.Watch(ctx, i)
	err = health.Wait(ctx, w, health.Options{Timeout: 30 * time.Second, StallTimeout: 20 * time.Second, Progress: func(p health.Phase) {
		phases = append(phases, p.String())
	}})
	if err != nil {
		t.Fatal(fault.Report(err))
	}
	if p := strings.Join(phases, ","); !strings.Contains(p, "starting,loading model") || !strings.Contains(p, "ready") {
		t.Errorf("phases %s", p)
	}

	c, err := api.ContainerInspect(ctx, i.ID)
	if err != nil {
		t.Fatal(err)
	}
	h := c.HostConfig
	if !h.ReadonlyRootfs || len(h.CapDrop) != 1 || h.CapDrop[0] != "ALL" || h.Privileged || !*h.Init {
		t.Errorf("read-only %v, dropped %v, privileged %v", h.ReadonlyRootfs, h.CapDrop, h.Privileged)
	}
	if b := c.NetworkSettings.Ports["8080/tcp"]; len(b) != 1 || b[0].HostIP != "127.0.0.1" || b[0].HostPort != strconv.Itoa(i.Port) {
		t.Errorf("published on %+v", b)
	}
	if h.LogConfig.Type != "json-file" || h.LogConfig.Config["max-size"] != "10m" || h.LogConfig.Config["max-file"] != "3" {
		t.Errorf("log %+v", h.LogConfig)
	}
	for _, m := range c.Mounts {
		if m.Destination == "/models" && (m.RW || m.Type != "volume") {
			t.Errorf("model mount %+v", m)
		}
	}
	status := inside(t, api, i.ID, "cat", "/proc/1/status")
	for _, want := range []string{"Uid:\t65532\t65532", "Gid:\t65532\t65532", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(status, want) {
			t.Errorf("%q is not in:\n%s", want, status)
		}
	}
	for _, c := range []struct{ file, want string }{
		{"/x", "Read-only file system"},
		{"/models/x", "Read-only file system"},
		{"/models/blobs/abc", "Read-only file system"},
		{"/tmp/x", "written"},
		{"/var/cache/llorch/cuda/x", "written"},
	} {
		got := inside(t, api, i.ID, "perl", "-e", `open my $f, ">", $ARGV[0] or die "$!\n"; print "written\n"`, c.file)
		if !strings.Contains(got, c.want) {
			t.Errorf("writing %s: %q, want %q", c.file, got, c.want)
		}
	}
	if got := inside(t, api, i.ID, "cat", "/models/snapshots/1/x.gguf"); got != "GGUF and more" {
		t.Errorf("the model reads %q", got)
	}

	// What is found is what was started.
	found, there, err := find(ctx, d, s.Project, s.Pool, s.Replica)
	if err != nil || !there || found.ID != i.ID || found.URL != i.URL || found.RunDigest != s.RunDigest() || found.Port != i.Port {
		t.Fatalf("found %+v, %v", found, err)
	}
	if err := d.Watch(ctx, found).Same(ctx); err != nil {
		t.Error(err)
	}
	var log bytes.Buffer
	if err := d.Logs(ctx, found, &log, engine.LogOptions{}); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"loading /models/snapshots/1/x.gguf\n", "listening, model starts with GGUF\n"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is not in the log %q", want, log.String())
		}
	}
	if l := d.Watch(ctx, found).LastLines(ctx, 1); len(l) != 1 {
		t.Errorf("last line: %q", l)
	}

	// A second start of the same replica is refused and changes nothing.
	if _, err := start(ctx, d, s); fault.ClassOf(err) != fault.Engine || !errors.Is(err, engine.ErrTaken) {
		t.Errorf("second start: %v", err)
	}
	// Another replica on the same port is told who has it.
	other := s
	other.Replica, other.Port = "r1", i.Port
	if _, err := start(ctx, d, other); fault.ClassOf(err) != fault.Engine || !strings.Contains(err.Error(), i.Name) || !strings.Contains(err.Error(), strconv.Itoa(i.Port)) {
		t.Errorf("same port: %v", err)
	}

	began := time.Now()
	if err := d.Remove(ctx, found, 10*time.Second); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stop took %v: the server was not told to stop", took)
	}
	if gone, there, err := find(ctx, d, s.Project, s.Pool, s.Replica); there || err != nil {
		t.Errorf("after stop: %+v, %v", gone, err)
	}
	if _, err := http.Get(i.URL + "/health"); err == nil {
		t.Error("it still answers")
	}
	if err := d.Remove(ctx, found, time.Second); err != nil {
		t.Errorf("a second stop: %v", err)
	}
	if err := d.Watch(ctx, found).Same(ctx); !errors.Is(err, engine.ErrGone) {
		t.Errorf("watched: %v", err)
	}
}
