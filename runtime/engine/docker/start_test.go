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

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"
	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/engine/docker"
)

// onDisk is a spec whose model is in a folder laid out like the Hub's cache.
func onDisk(t *testing.T) engine.Spec {
	t.Helper()
	dir := t.TempDir()
	s := sample()
	s.Project = dir
	s.Model = engine.Model{HostDir: filepath.Join(dir, "m"), HostFile: filepath.Join(dir, "m", "snapshots", "1", "x.gguf")}
	blob := filepath.Join(dir, "m", "blobs", "abc")
	for _, d := range []string{filepath.Dir(blob), filepath.Dir(s.Model.HostFile)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(blob, []byte("GGUF and more"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../blobs/abc", s.Model.HostFile); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStart(t *testing.T) {
	t.Parallel()
	f, s := newFake(), onDisk(t)
	f.probe = "/probe"
	i, err := start(t.Context(), f.engine(), s)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"create helper", "start helper", "remove helper", "create server", "start server"}
	if d := cmp.Diff(want, f.log); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if i.Pool != "default" || i.RunDigest != s.RunDigest() || i.Port == 0 || i.URL != "http://127.0.0.1:"+strconv.Itoa(i.Port) || !i.State.Running {
		t.Errorf("instance %+v", i)
	}
	c := f.containers[i.ID]
	if m := c.host.Mounts; len(m) != 1 || m[0].Type != mount.TypeVolume || !m[0].ReadOnly || m[0].Target != "/models" {
		t.Errorf("mounts %+v", m)
	}
	again, there, err := find(t.Context(), f.engine(), s.Project, s.Pool, s.Replica)
	if err != nil || !there || again.ID != i.ID {
		t.Errorf("found %+v, %v", again, err)
	}
	if none, there, err := find(t.Context(), f.engine(), "/elsewhere", s.Pool, s.Replica); there || err != nil {
		t.Errorf("another project's pool was found: %+v, %v", none, err)
	}
	for project, n := range map[string]int{s.Project: 1, "": 1, "/elsewhere": 0} {
		if list, err := f.engine().Observe(t.Context(), project); err != nil || len(list) != n {
			t.Errorf("list of %q: %v, %v", project, list, err)
		}
	}
}

// Each way that a start can fail, and that it leaves nothing.
func TestStartFails(t *testing.T) {
	t.Parallel()
	clash := errors.New("Bind for 127.0.0.1:80 failed: port is already allocated")
	for _, c := range []struct {
		name  string
		with  func(*testing.T, *fake, *engine.Spec)
		class fault.Class
		text  string
	}{
		{"a request that is wrong", func(_ *testing.T, _ *fake, s *engine.Spec) { s.Restart = "x" }, fault.Usage, "`restart`"},
		{"no init", func(_ *testing.T, f *fake, _ *engine.Spec) { f.initBinary = "" }, fault.Machine, "docker-init"},
		{"no image", func(_ *testing.T, f *fake, _ *engine.Spec) { f.noImage = true }, fault.Engine, "no image llorch/llama:x"},
		{"no model", func(_ *testing.T, _ *fake, s *engine.Spec) { s.Model.HostFile += "x" }, fault.Model, "x.ggufx"},
		{"a shard is missing", func(t *testing.T, _ *fake, s *engine.Spec) {
			s.Model = engine.Model{HostFile: filepath.Join(t.TempDir(), "x-00001-of-00002.gguf")}
			if err := os.WriteFile(s.Model.HostFile, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}, fault.Model, "x-00002-of-00002.gguf"},
		{"the engine refuses", func(_ *testing.T, f *fake, _ *engine.Spec) {
			f.start = func(context.Context, string) error { return errors.New("something") }
		}, fault.Engine, "something"},
		{"no GPU", func(_ *testing.T, f *fake, s *engine.Spec) {
			s.GPUs = "all"
			f.start = func(context.Context, string) error { return errors.New("could not select device driver") }
		}, fault.Engine, "GPU"},
		{"every free port is taken in between", func(_ *testing.T, f *fake, _ *engine.Spec) {
			f.start = func(context.Context, string) error { return clash }
		}, fault.Engine, "in use"},
		{"the port is taken in between", func(t *testing.T, f *fake, s *engine.Spec) {
			s.Port = freePort(t)
			f.start = func(context.Context, string) error { return clash }
		}, fault.Engine, "in use"},
		{"the port is taken by another program", func(t *testing.T, f *fake, s *engine.Spec) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			s.Port = l.Addr().(*net.TCPAddr).Port
			f.start = func(context.Context, string) error { t.Error("it was started"); return nil }
		}, fault.Engine, "another program uses it"},
		{"no way to the model", func(_ *testing.T, f *fake, _ *engine.Spec) {
			f.noBinds, f.copied = true, func() error { return errors.New("no space left on device") }
		}, fault.Engine, "no space left on device"},
		{"limits that the engine does not take", func(_ *testing.T, f *fake, s *engine.Spec) {
			s.Memory = 8 << 20
			f.create = func(h *container.HostConfig) error {
				if h.Memory == 8<<20 {
					return errors.New("minimum memory limit allowed is 9MB")
				}
				return nil
			}
		}, fault.Engine, "the engine could not start llorch/llama:x: minimum memory limit"},
		{"a copy that nobody can read", func(_ *testing.T, f *fake, _ *engine.Spec) {
			f.probe, f.unreadable = "/probe", func(mount.Mount) bool { return true }
		}, fault.Engine, "cannot read it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, s := newFake(), onDisk(t)
			c.with(t, f, &s)
			_, err := start(t.Context(), f.engine(), s)
			if fault.ClassOf(err) != c.class || !strings.Contains(fault.Report(err), c.text) {
				t.Errorf("class %v, want %v with %q:\n%s", fault.ClassOf(err), c.class, c.text, fault.Report(err))
			}
			if left, _ := f.left(); left != nil {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestStartTakesAnotherPortAfterAClash(t *testing.T) {
	t.Parallel()
	f, s := newFake(), onDisk(t)
	s.PreferPort = freePort(t)
	var tried []string
	f.start = func(_ context.Context, port string) error {
		if tried = append(tried, port); len(tried) < 3 {
			return errors.New("listen tcp4 127.0.0.1:1: bind: address already in use")
		}
		return nil
	}
	i, err := start(t.Context(), f.engine(), s)
	if err != nil {
		t.Fatal(err)
	}
	if len(tried) != 3 || tried[0] != strconv.Itoa(s.PreferPort) || tried[2] != strconv.Itoa(i.Port) || tried[1] == tried[0] {
		t.Errorf("tried %v, got %d", tried, i.Port)
	}
	if left, _ := f.left(); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

func TestStartTwice(t *testing.T) {
	t.Parallel()
	f, s := newFake(), onDisk(t)
	// The other one comes between the look and the start.
	f.start = func(context.Context, string) error {
		_, err := start(t.Context(), newFakeOn(f).engine(), s)
		if fault.ClassOf(err) != fault.Engine || !errors.Is(err, engine.ErrTaken) {
			t.Errorf("the second start: %v", err)
		}
		return nil
	}
	if _, err := start(t.Context(), f.engine(), s); err != nil {
		t.Fatal(err)
	}
	_, err := start(t.Context(), f.engine(), s)
	if fault.ClassOf(err) != fault.Engine || !errors.Is(err, engine.ErrTaken) {
		t.Errorf("the third start: %v", err)
	}
	if left, _ := f.left(); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// newFakeOn is another client's view of f, without its hooks.
func newFakeOn(f *fake) *fake {
	return &fake{containers: f.containers, volumes: f.volumes, initBinary: f.initBinary, next: 100}
}

func TestStartIsInterrupted(t *testing.T) {
	t.Parallel()
	why := errors.New("ctrl-c")
	for name, with := range map[string]func(*fake, func()){
		"while the server starts": func(f *fake, stop func()) {
			f.start = func(ctx context.Context, _ string) error { stop(); return ctx.Err() }
		},
		"once the server has started": func(f *fake, stop func()) {
			f.start = func(context.Context, string) error { stop(); return nil }
		},
		"while the model is copied": func(f *fake, stop func()) {
			f.noBinds, f.copied = true, func() error { stop(); return context.Canceled }
		},
	} {
		f, s := newFake(), onDisk(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		with(f, func() { cancel(why) })
		if _, err := start(ctx, f.engine(), s); !errors.Is(err, why) {
			t.Errorf("%s: %v", name, err)
		}
		left, volumes := f.left()
		if left != nil {
			t.Errorf("%s: left %v", name, left)
		}
		for _, v := range volumes {
			if f.volumes[v].Labels[docker.LabelModelKey] != "" {
				t.Errorf("%s: half a copy is left in %s", name, v)
			}
		}
	}
}

// How the model reaches the container, by what the engine can do.
func TestPlacement(t *testing.T) {
	t.Parallel()
	isHostVolume := func(m mount.Mount) bool { return m.Type == mount.TypeVolume && strings.Count(m.Source, "-") == 2 }
	for _, c := range []struct {
		name string
		with func(*fake, *engine.Spec)
		kind mount.Type
		copy bool
	}{
		{"a folder", func(*fake, *engine.Spec) {}, mount.TypeVolume, false},
		{"one file", func(_ *fake, s *engine.Spec) { s.Model.HostDir = "" }, mount.TypeBind, false},
		{"an engine whose volumes cannot bind", func(f *fake, _ *engine.Spec) { f.noBindVolumes = true }, mount.TypeBind, false},
		{"an engine that does not see the host", func(f *fake, _ *engine.Spec) { f.noBinds = true }, mount.TypeVolume, true},
		{"a folder closed to the user", func(f *fake, _ *engine.Spec) {
			f.probe, f.unreadable = "/probe", isHostVolume
		}, mount.TypeVolume, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, s := newFake(), onDisk(t)
			c.with(f, &s)
			i, err := start(t.Context(), f.engine(), s)
			if err != nil {
				t.Fatal(err)
			}
			m := f.containers[i.ID].host.Mounts
			if len(m) != 1 || m[0].Type != c.kind || !m[0].ReadOnly {
				t.Fatalf("mounts %+v", m)
			}
			copied := func() (n int) {
				for _, l := range f.log {
					if strings.HasPrefix(l, "copy ") {
						n++
					}
				}
				return n
			}
			if want := map[bool]int{true: 2, false: 0}[c.copy]; copied() != want {
				t.Errorf("copies: %d, want %d (the model and the mark)", copied(), want)
			}
			if !c.copy {
				return
			}
			// A second replica uses the copy that is there.
			before := copied()
			s.Replica = "r1"
			j, err := start(t.Context(), f.engine(), s)
			if err != nil {
				t.Fatal(err)
			}
			if copied() != before || f.containers[j.ID].host.Mounts[0].Source != m[0].Source {
				t.Errorf("the model was copied again")
			}
			// But not one that is not whole.
			delete(f.volumes[m[0].Source].files, ".llorch-complete")
			s.Replica = "r2"
			if j, err = start(t.Context(), f.engine(), s); err != nil {
				t.Fatal(err)
			}
			if f.containers[j.ID].host.Mounts[0].Source == m[0].Source {
				t.Error("half a copy was used")
			}
		})
	}
}

// A volume of that name over another folder is somebody else's.
func TestForeignVolumeIsNotUsed(t *testing.T) {
	t.Parallel()
	f, s := newFake(), onDisk(t)
	if _, err := start(t.Context(), f.engine(), s); err != nil {
		t.Fatal(err)
	}
	_, names := f.left()
	f.volumes[names[0]].Volume = volume.Volume{Name: names[0], Options: map[string]string{"device": "/etc"}}
	s.Replica = "r1"
	i, err := start(t.Context(), f.engine(), s)
	if err != nil {
		t.Fatal(err)
	}
	if m := f.containers[i.ID].host.Mounts; m[0].Type != mount.TypeBind || m[0].Source != s.Model.HostDir {
		t.Errorf("mounts %+v", m)
	}
}

func TestRemoteEngine(t *testing.T) {
	t.Parallel()
	f, s := newFake(), onDisk(t)
	d := docker.New(f, engine.Endpoint{Host: "ssh://u@box", Source: "DOCKER_HOST"}, nil)
	_, err := start(t.Context(), d, s)
	if fault.ClassOf(err) != fault.Machine || !strings.Contains(fault.Report(err), "`listen`") {
		t.Errorf("its loopback: %v", err)
	}
	s.Listen = "0.0.0.0"
	i, err := start(t.Context(), d, s)
	if err != nil {
		t.Fatal(err)
	}
	if i.URL != "http://box:"+strconv.Itoa(i.Port) {
		t.Errorf("url %s", i.URL)
	}
	// A path of ours may exist there and be another file.
	if v := f.containers[i.ID].host.Mounts[0].Source; f.volumes[v].files["snapshots/1/x.gguf"] != 13 {
		t.Errorf("the model was not copied: %v", f.volumes[v].files)
	}
}

// A standby is made beside the server that it replaces, for the same port, and gets
// its name once that one is gone.
func TestReplacement(t *testing.T) {
	t.Parallel()
	for name, port := range map[string]int{"a port that was kept": 0, "a port that was asked for": freePort(t)} {
		f, s := newFake(), onDisk(t)
		d := f.engine()
		s.Port = port
		own, err := start(t.Context(), d, s)
		if err != nil {
			t.Fatal(err)
		}
		// Who serves now has the port, as the engine would have it.
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(own.Port)))
		if err != nil {
			t.Fatal(err)
		}
		next := s
		next.Image = "sha256:2"
		if port == 0 {
			next.PreferPort = own.Port
		}
		p, err := d.Prepare(t.Context(), next)
		if err != nil {
			t.Fatal(err)
		}
		made, err := p.Create(t.Context(), true)
		if err != nil || !made.Standby || made.Port != own.Port || made.Of() != own.Of() || made.State.Running {
			t.Fatalf("%s: %+v, %v", name, made, err)
		}
		if _, err := p.Create(t.Context(), true); !errors.Is(err, engine.ErrTaken) {
			t.Errorf("%s: a second standby: %v", name, err)
		}
		if _, err := d.Promote(t.Context(), made); !errors.Is(err, engine.ErrTaken) {
			t.Errorf("%s: promoted beside the old one: %v", name, err)
		}
		if err := errors.Join(l.Close(), d.Stop(t.Context(), own, 0)); err != nil {
			t.Fatal(err)
		}
		made, err = p.Start(t.Context(), made)
		if err != nil || !made.State.Running {
			t.Fatalf("%s: %+v, %v", name, made, err)
		}
		if err := d.Remove(t.Context(), own, 0); err != nil {
			t.Fatal(err)
		}
		for range 2 { // also where it was done already
			if made, err = d.Promote(t.Context(), made); err != nil || made.Standby || made.Name != own.Name {
				t.Errorf("%s: promoted: %+v, %v", name, made, err)
			}
		}
		if left, _ := f.left(); len(left) != 1 || left[0] != own.Name {
			t.Errorf("%s: left %v", name, left)
		}
	}
}

// A container that is not ours is foreign, whatever its name.
func TestForeignContainer(t *testing.T) {
	t.Parallel()
	f, s := newFake(), onDisk(t)
	if _, err := f.ContainerCreate(t.Context(), &container.Config{Labels: map[string]string{}}, &container.HostConfig{}, nil, nil, s.Of().Name()); err != nil {
		t.Fatal(err)
	}
	found, err := f.engine().Observe(t.Context(), s.Project, s.Of().Name(), s.Of().StandbyName())
	if err != nil || len(found) != 1 || !found[0].Foreign || found[0].Standby {
		t.Errorf("%+v, %v", found, err)
	}
}
