package docker_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

// said is a log as an engine gives it.
func said(line string) string {
	var b bytes.Buffer
	_, _ = stdcopy.NewStdWriter(&b, stdcopy.Stderr).Write([]byte(line + "\n"))
	return b.String()
}

func running(health string) container.State {
	s := container.State{Status: "running", Running: true}
	if health != "" {
		s.Health = &container.Health{Status: health}
	}
	return s
}

// A model is loaded in a container that has its files, and nothing else of the machine.
func TestTry(t *testing.T) {
	t.Parallel()
	f, s := newFake(), onDisk(t)
	f.probe = "/probe"
	s.Entrypoint = []string{"/app/server"}
	s.Flags = []string{"--jinja", "--ctx-size", "8192"}
	s.GPUs, s.Device, s.GPUCache, s.Env = "all", "CUDA", true, []string{"SECRET=x"}
	var config container.Config
	var host container.HostConfig
	f.try = func(c *container.Config, h *container.HostConfig) container.State {
		config, host = *c, *h
		return running("healthy")
	}
	if err := f.engine().Try(t.Context(), s, time.Minute); err != nil {
		t.Fatal(err)
	}
	if host.NetworkMode != "none" || len(host.Devices)+len(host.DeviceRequests)+len(host.PortBindings) > 0 || !host.ReadonlyRootfs || !slices.Equal(host.CapDrop, []string{"ALL"}) {
		t.Errorf("the container is %+v", host)
	}
	if m := host.Mounts; len(m) != 1 || m[0].Type != mount.TypeBind || m[0].Source != s.Model.HostFile || !m[0].ReadOnly || m[0].Target != "/models/x.gguf" {
		t.Errorf("its mounts are %+v", m)
	}
	if !slices.Equal(config.Env, []string{"LLAMA_ARG_REPACK=0"}) {
		t.Errorf("its environment is %q", config.Env)
	}
	cmd := strings.Join(append(slices.Clone(config.Entrypoint), config.Cmd...), " ")
	if want := "/app/server --host 127.0.0.1 --port 8080 --model /models/x.gguf --jinja --n-gpu-layers 0 --ctx-size 256 --parallel 1 --no-warmup"; cmd != want {
		t.Errorf("it runs %q, want %q", cmd, want)
	}
	if !slices.Equal(config.Healthcheck.Test, []string{"CMD", "/probe", "health"}) {
		t.Errorf("its health is asked by %q", config.Healthcheck.Test)
	}
	if left, volumes := f.left(); len(left)+len(volumes) > 0 {
		t.Errorf("it left %v and %v", left, volumes)
	}
}

// An engine that cannot show single files shows the model as the server sees it.
func TestTryInVM(t *testing.T) {
	t.Parallel()
	f, s := newFake(), onDisk(t)
	s.Entrypoint = []string{"/app/server"}
	f.noBinds = true
	var host container.HostConfig
	f.try = func(_ *container.Config, h *container.HostConfig) container.State {
		host = *h
		return running("")
	}
	f.says = said("main: model loaded")
	if err := f.engine().Try(t.Context(), s, time.Minute); err != nil {
		t.Fatal(err)
	}
	if m := host.Mounts; len(m) != 1 || m[0].Type != mount.TypeVolume || !m[0].ReadOnly {
		t.Errorf("its mounts are %+v", m)
	}
}

func TestTryRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		state container.State
		limit time.Duration
		class fault.Class
		want  string
	}{
		"the server refuses it": {container.State{Status: "exited", ExitCode: 1}, time.Minute, fault.Model, "exited with code 1"},
		"the server crashes":    {container.State{Status: "exited", ExitCode: 139}, time.Minute, fault.Model, "signal 11"},
		"too much memory":       {container.State{Status: "exited", ExitCode: 137, OOMKilled: true}, time.Minute, fault.Engine, "`memory`"},
		"it never ends":         {running("starting"), 300 * time.Millisecond, fault.Model, "within 300ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, s := newFake(), onDisk(t)
			s.Entrypoint = []string{"/app/server"}
			f.says = said("what the server said last")
			f.try = func(*container.Config, *container.HostConfig) container.State { return c.state }
			err := f.engine().Try(t.Context(), s, c.limit)
			if fault.ClassOf(err) != c.class || !strings.Contains(fault.Report(err), c.want) {
				t.Errorf("%v", fault.Report(err))
			}
			if !strings.Contains(fault.Report(err), "what the server said last") {
				t.Errorf("the server's lines are missing: %s", fault.Report(err))
			}
			if left, _ := f.left(); len(left) > 0 {
				t.Errorf("it left %v", left)
			}
		})
	}
}

func TestTryCannot(t *testing.T) {
	t.Parallel()
	f, s := newFake(), onDisk(t)
	if err := f.engine().Try(t.Context(), s, time.Minute); !errors.Is(err, engine.ErrUntried) {
		t.Errorf("an image without a program: %v", err)
	}
	s.Entrypoint = []string{"/app/server"}
	f.try = func(*container.Config, *container.HostConfig) container.State {
		return container.State{Status: "exited", ExitCode: 127}
	}
	if err := f.engine().Try(t.Context(), s, time.Minute); !errors.Is(err, engine.ErrUntried) {
		t.Errorf("a program that cannot be executed: %v", err)
	}
	f.try = func(*container.Config, *container.HostConfig) container.State { return running("starting") }
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("told to stop")
	time.AfterFunc(50*time.Millisecond, func() { cancel(stop) })
	if err := f.engine().Try(ctx, s, time.Minute); !errors.Is(err, stop) {
		t.Errorf("interrupted: %v", err)
	}
	s.Model.HostFile = filepath.Join(t.TempDir(), "gone.gguf")
	s.Model.HostDir = ""
	if err := f.engine().Try(t.Context(), s, time.Minute); fault.ClassOf(err) != fault.Model {
		t.Errorf("a model that is gone: %v", err)
	}
}
