package docker_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/engine/docker"
	"github.com/llorch/llorch-bk/runtime/health"
)

func TestDockerEndings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, flags string
		with        func(*testing.T, *engine.Spec)
		act         func(context.Context, *client.Client, string) error
		class       fault.Class
		text, line  string
	}{
		{name: "crash", flags: "crash 1", class: fault.Engine, text: "exited with code 1", line: "error: invalid argument"},
		{name: "illegal instruction", flags: "kill 4", class: fault.Engine, text: "illegal instruction", line: "loading"},
		{
			name: "killed while loading", flags: "serve 100", class: fault.Engine, text: "signal 9",
			act: func(ctx context.Context, api *client.Client, id string) error {
				return api.ContainerKill(ctx, id, "KILL")
			},
		},
		{
			name: "removed while loading", flags: "serve 100", class: fault.Engine, text: "was removed",
			act: func(ctx context.Context, api *client.Client, id string) error {
				return api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true})
			},
		},
		{
			name: "restarted while loading", flags: "serve 100", class: fault.Engine, text: "before it was ready",
			with: func(_ *testing.T, s *engine.Spec) { s.Restart = "always" },
			act: func(ctx context.Context, api *client.Client, id string) error {
				seconds := 0
				return api.ContainerRestart(ctx, id, container.StopOptions{Timeout: &seconds})
			},
		},
		{name: "hangs", flags: "hang", class: fault.NotReady, text: "hangs", line: "loading"},
		{
			name: "out of memory", class: fault.Engine, text: "memory ran out",
			with: func(_ *testing.T, s *engine.Spec) {
				s.Memory = 32 << 20
				s.Entrypoint = []string{"perl", "-e", `my @a; push @a, "x" x (1 << 20) while 1`, "--"}
			},
		},
		{
			name: "no such program", class: fault.Engine, text: "cannot be executed",
			with: func(_ *testing.T, s *engine.Spec) { s.Entrypoint = []string{"/nowhere"} },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d, api, s := real(t, strings.Fields(c.flags)...)
			if c.with != nil {
				c.with(t, &s)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			i, err := start(ctx, d, s)
			if err != nil {
				t.Fatal(fault.Report(err))
			}
			acted := make(chan time.Time, 1)
			if c.act != nil {
				go func() {
					if err := c.act(ctx, api, i.ID); err != nil {
						t.Error(err)
					}
					acted <- time.Now()
				}()
			}
			err = health.Wait(ctx, d.Watch(ctx, i), health.Options{Timeout: 40 * time.Second, StallTimeout: 4 * time.Second})
			if fault.ClassOf(err) != c.class || !strings.Contains(err.Error(), c.text) || !strings.Contains(fault.Report(err), c.line) {
				t.Errorf("class %v, want %v with %q and %q:\n%s", fault.ClassOf(err), c.class, c.text, c.line, fault.Report(err))
			}
			if c.act != nil {
				if late := time.Since(<-acted); late > 2*time.Second {
					t.Errorf("noticed %v late", late)
				}
			}
		})
	}
}

// A model that the server's user may not read is copied, and the copy is used again.
func TestDockerCopiesWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	d, api, s := real(t, "serve", "0")
	if err := os.Chmod(s.Model.HostDir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.Image = withProbe(t, api, s.Image)
	t.Cleanup(func() { removeAll(t, d, s.Project) }) // before its image can go
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var source string
	for _, replica := range []string{"r0", "r1"} {
		s.Replica = replica
		i, err := start(ctx, d, s)
		if err != nil {
			t.Fatal(fault.Report(err))
		}
		if err := health.Wait(ctx, d.Watch(ctx, i), health.Options{Timeout: 30 * time.Second}); err != nil {
			t.Fatal(fault.Report(err))
		}
		c, err := api.ContainerInspect(ctx, i.ID)
		if err != nil {
			t.Fatal(err)
		}
		m := c.Mounts[0]
		if m.RW || m.Type != "volume" || source != "" && m.Name != source {
			t.Errorf("replica %s: %+v", replica, m)
		}
		source = m.Name
	}
}

// Single files, the shards beside them, and a copy into an engine that is
// treated as if it were elsewhere.
func TestDockerShards(t *testing.T) {
	t.Parallel()
	for _, remote := range []bool{false, true} {
		d, api, s := real(t, "serve", "0")
		dir := filepath.Dir(s.Model.HostDir)
		for _, n := range []string{"y-00001-of-00002.gguf", "y-00002-of-00002.gguf"} {
			if err := os.WriteFile(filepath.Join(dir, n), []byte("GGUF"+n), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		s.Model = engine.Model{HostFile: filepath.Join(dir, "y-00001-of-00002.gguf")}
		if remote {
			d, s.Listen = docker.New(api, engine.Endpoint{Host: "tcp://127.0.0.1:1", Source: "test"}, nil), "0.0.0.0"
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		i, err := start(ctx, d, s)
		if err != nil {
			t.Fatal(fault.Report(err))
		}
		if err := health.Wait(ctx, d.Watch(ctx, i), health.Options{Timeout: 30 * time.Second}); err != nil {
			t.Fatal(fault.Report(err))
		}
		if got := inside(t, api, i.ID, "cat", "/models/y-00002-of-00002.gguf"); got != "GGUFy-00002-of-00002.gguf" {
			t.Errorf("remote %v: the second shard reads %q", remote, got)
		}
		if got := inside(t, api, i.ID, "ls", "/models"); strings.Contains(got, "blobs") {
			t.Errorf("remote %v: more than the model is mounted: %s", remote, got)
		}
		cancel()
	}
}

// The port of another program, and of a container that only Docker knows of.
func TestDockerPortInUse(t *testing.T) {
	t.Parallel()
	d, _, s := real(t, "serve", "0")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s.Port = l.Addr().(*net.TCPAddr).Port
	_, err = start(t.Context(), d, s)
	if fault.ClassOf(err) != fault.Engine || !strings.Contains(err.Error(), strconv.Itoa(s.Port)) {
		t.Errorf("error %v", err)
	}
	if i, there, err := find(t.Context(), d, s.Project, s.Pool, s.Replica); there || err != nil {
		t.Errorf("left %+v, %v", i, err)
	}
}

// Told to stop while it works, a start leaves nothing, whenever that comes.
func TestDockerStartIsInterrupted(t *testing.T) {
	t.Parallel()
	d, _, s := real(t, "serve", "0")
	for _, after := range []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond, 600 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		i, err := start(ctx, d, s)
		cancel()
		switch {
		case err == nil: // it was quicker
			if err := d.Remove(t.Context(), i, 0); err != nil {
				t.Fatal(err)
			}
		case !errors.Is(err, context.DeadlineExceeded):
			t.Errorf("after %v: %v", after, err)
		}
		if left, there, err := find(t.Context(), d, s.Project, s.Pool, s.Replica); there || err != nil {
			t.Errorf("after %v: left %+v, %v", after, left, err)
		}
	}
}

func TestDockerFacts(t *testing.T) {
	t.Parallel()
	d, _, _ := real(t)
	f, err := d.Facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if f.Version == "" || f.API == "" || f.LogDriver == "" || f.Init == "" || f.CPUs == 0 || f.Memory == 0 {
		t.Errorf("facts %+v", f)
	}
}
