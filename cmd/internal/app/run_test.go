package app

import (
	"context"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/engine/docker"
	"github.com/llorch/llorch-bk/runtime/model"
)

// options are those of a bare run in dir.
func options(dir string) RunOptions {
	return RunOptions{
		Pool: "default", Replica: "r0", HandoffDir: dir, Model: "m.gguf", Listen: engine.DefaultListen,
		Timeout: time.Minute, StallTimeout: time.Minute, Restart: "no",
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*RunOptions)
		// want is in the error; empty means that there is none.
		want string
	}{
		"as it is": {func(*RunOptions) {}, ""},
		"everything": {func(o *RunOptions) {
			o.Port, o.Listen, o.Ctx, o.GPUs, o.Memory, o.CPUs, o.Restart = 8080, "0.0.0.0", 4096, "0,1", "8g", 1.5, "on-failure:3"
		}, ""},
		"no GPU":                        {func(o *RunOptions) { o.GPUs = "none" }, ""},
		"the highest port":              {func(o *RunOptions) { o.Port = 65535 }, ""},
		"a port too high":               {func(o *RunOptions) { o.Port = 65536 }, "`port` must be 1–65535, got 65536"},
		"a port too low":                {func(o *RunOptions) { o.Port = -1 }, "`port` must be 1–65535, got -1"},
		"a pool":                        {func(o *RunOptions) { o.Pool = "../up" }, `invalid pool name "../up"`},
		"no pool":                       {func(o *RunOptions) { o.Pool = "" }, `invalid pool name ""`},
		"a replica":                     {func(o *RunOptions) { o.Replica = "r-0" }, `invalid replica name "r-0"`},
		"pool and replica":              {func(o *RunOptions) { o.Pool, o.Replica = "P", "R" }, `invalid replica name "R"`},
		"a model":                       {func(o *RunOptions) { o.Model = "hf:org" }, "hf:org"},
		"a model's hash":                {func(o *RunOptions) { o.Model = "m.gguf#sha256=1" }, "64 hexadecimal digits"},
		"the model twice":               {func(o *RunOptions) { o.Server = []string{"-m", "x.gguf"} }, "-m cannot be given"},
		"the port twice":                {func(o *RunOptions) { o.Server = []string{"--port=1"} }, "--port cannot be given"},
		"a key in arguments":            {func(o *RunOptions) { o.Server = []string{"--api-key", "secret"} }, "--api-key cannot be given"},
		"the context size is set twice": {func(o *RunOptions) { o.Ctx, o.Server = 1, []string{"-c", "2"} }, "the context size is set twice"},
		"a context size":                {func(o *RunOptions) { o.Ctx = -1 }, "`ctx`"},
		"a timeout":                     {func(o *RunOptions) { o.Timeout = 0 }, "`timeout`"},
		"a stall timeout":               {func(o *RunOptions) { o.StallTimeout = -time.Second }, "`stall-timeout`"},
		"no size":                       {func(o *RunOptions) { o.Memory = "much" }, "`memory` must be a size, got \"much\""},
		"too small a size":              {func(o *RunOptions) { o.Memory = "1m" }, "`memory` must be at least 6 MiB, got 1048576"},
		"less than no CPU":              {func(o *RunOptions) { o.CPUs = -1 }, "`cpus` must be a number of cores, got -1"},
		"CPUs":                          {func(o *RunOptions) { o.CPUs = math.NaN() }, "`cpus` must be a number of cores, got NaN"},
		"an address":                    {func(o *RunOptions) { o.Listen = "localhost" }, "`listen` must be an IP address"},
		"a policy":                      {func(o *RunOptions) { o.Restart = "sometimes" }, "`restart` must be"},
		"GPUs":                          {func(o *RunOptions) { o.GPUs = "0,,1" }, "`gpus`"},
		"no folder":                     {func(o *RunOptions) { o.HandoffDir = filepath.Join(file, "engines") }, "cannot write to the handoff folder"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "runtime", "engines")
			opt := options(dir)
			c.change(&opt)
			_, err := check(opt)
			if c.want == "" && err != nil {
				t.Errorf("error = %v, want none", err)
			}
			if c.want != "" && (fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error = %v, want a fault.Usage with %q", err, c.want)
			}
			if err != nil && strings.Contains(fault.Report(err), "secret") {
				t.Errorf("the error repeats a secret: %v", err)
			}
			if exists(t, filepath.Dir(dir)) {
				t.Error("the check left a folder")
			}
		})
	}
}

func TestCheckReads(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	opt := options(".runtime/engines")
	opt.Memory = "8g"
	opt.Model = "hf:org/repo/m.gguf#sha256=" + strings.Repeat("AB", 32)
	r, err := check(opt)
	if err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs(".runtime/engines")
	if err != nil {
		t.Fatal(err)
	}
	if r.HandoffDir != here || r.memory != 8<<30 || r.ref.SHA256 != strings.Repeat("ab", 32) || r.ref.Repo != "org/repo" {
		t.Errorf("request = %+v", r)
	}
}

func TestReach(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		local  bool
		listen string
		ok     bool
	}{
		{true, engine.DefaultListen, true},
		{true, "0.0.0.0", true},
		{false, "10.0.0.7", true},
		{false, engine.DefaultListen, false},
	} {
		eng := &dockerEngine{local: c.local, at: engine.Endpoint{Host: "tcp://10.0.0.7:2376"}}
		err := reach(eng, checkedRun{RunOptions: RunOptions{Listen: c.listen}})
		if (err == nil) != c.ok {
			t.Errorf("local %v, --listen %s: error = %v", c.local, c.listen, err)
		}
		if err != nil && (fault.ClassOf(err) != fault.Machine || !strings.Contains(fault.Report(err), "`listen`")) {
			t.Errorf("error = %v, want a fault.Machine that tells of --listen", err)
		}
	}
}

func TestGPUs(t *testing.T) {
	t.Parallel()
	cuda := imageOf{Labels: map[string]string{images.LabelCUDA: "12.8", images.LabelDevice: "CUDA"}}
	for _, c := range []struct {
		name  string
		given string
		img   imageOf
		want  string
	}{
		{"a CPU image", "", imageOf{}, ""},
		{"a CUDA image", "", cuda, "all"},
		{"a CUDA image without", "none", cuda, ""},
		{"some", "0,1", cuda, "0,1"},
		{"a foreign image with", "all", imageOf{}, "all"},
	} {
		if got := (checkedRun{RunOptions: RunOptions{GPUs: c.given}}).gpus(c.img); got != c.want {
			t.Errorf("%s: GPUs = %q, want %q", c.name, got, c.want)
		}
	}
}

func TestSpec(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	opt := options(dir)
	opt.Pool, opt.Port, opt.Memory, opt.CPUs, opt.Ctx = "chat", 4711, "1g", 1.5, 4096
	r, err := check(opt)
	if err != nil {
		t.Fatal(err)
	}
	img := imageOf{ID: "sha256:1", Ref: "llorch-bk:cuda", Labels: map[string]string{images.LabelCUDA: "12.8", images.LabelDevice: "CUDA"}}
	got := r.spec(img, model.Local{Path: "/no/such/m.gguf", SHA256: "abc"}, []string{"--metrics"})
	want := engine.Spec{
		Project: dir, Pool: "chat", Replica: "r0", Handoff: filepath.Join(dir, "llamacpp-chat-r0.json"),
		Image: "sha256:1", ImageRef: "llorch-bk:cuda", Flags: []string{"--metrics"},
		Model:  engine.Model{HostFile: "/no/such/m.gguf", SHA256: "abc", Content: "abc"},
		Listen: "127.0.0.1", Port: 4711, User: engine.DefaultUser, GPUs: "all", Device: "CUDA", GPUCache: true,
		Memory: 1 << 30, CPUs: 1.5, Restart: "no",
		Labels: map[string]string{
			engine.LabelModel: "m.gguf", engine.LabelContent: "abc", engine.LabelFlags: `["--metrics"]`, engine.LabelDeviceMask: "all", labelDevice: "CUDA",
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestServerUser(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "m.gguf")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		got := serverUser(model.Local{Path: file})
		if got == engine.DefaultUser || strings.HasPrefix(got, "0:") {
			t.Errorf("user = %s, want the file's owner", got)
		}
		return
	}
	if got := serverUser(model.Local{Path: file}); got != engine.DefaultUser {
		t.Errorf("root's file is served by %s, want %s", got, engine.DefaultUser)
	}
	if err := os.Chown(file, 1234, 567); err != nil {
		t.Skipf("files cannot be given away here: %v", err)
	}
	if got := serverUser(model.Local{Path: file}); got != "1234:567" {
		t.Errorf("user = %s, want the file's owner", got)
	}
	if got := serverUser(model.Local{Path: file, Dir: filepath.Dir(file)}); got != engine.DefaultUser {
		t.Errorf("user = %s, want that of the folder's owner, who is root", got)
	}
}

// A pool that runs the same thing is left alone, but its handoff is restored.
func TestRunAlready(t *testing.T) {
	t.Parallel()
	f, r, img, local := already(t, llama(t, nil))
	d, err := OpenDisplay(t.Output(), "plain")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got, err := f.app(t).launch(t.Context(), &runner{a: f.app(t), d: d, eng: f.connect(t), r: r}, img, local)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Already || got.Handoff.Container.ID != "c1" || !exists(t, got.HandoffPath) {
		t.Errorf("running = %+v", got)
	}
	if got := f.done(); len(got) > 0 {
		t.Errorf("it was not left alone: %v", got)
	}
}

// Ctrl-C ends what this command started, and nothing that ran before.
func TestRunAlreadyInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	f, r, img, local := already(t, llama(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		cancel()
	}))
	d, err := OpenDisplay(t.Output(), "plain")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := f.app(t).launch(ctx, &runner{a: f.app(t), d: d, eng: f.connect(t), r: r}, img, local); err == nil {
		t.Error("ready, though the server was not")
	}
	if got := f.done(); len(got) > 0 {
		t.Errorf("it was not left alone: %v", got)
	}
}

// already is an engine on which a run's own container serves at url.
func already(t *testing.T, url string) (*fakeEngine, checkedRun, imageOf, model.Local) {
	t.Helper()
	dir := t.TempDir()
	f := startEngine(t)
	r, err := check(options(dir))
	if err != nil {
		t.Fatal(err)
	}
	img, local := imageOf{ID: "sha256:1111", Ref: "llorch-bk:test"}, model.Local{Path: "/no/such/m.gguf"}
	flags, err := engine.ServerFlags(nil, engine.ServerOptions{CPU: true})
	if err != nil {
		t.Fatal(err)
	}
	spec := r.spec(img, local, flags)
	f.addServer("c1", dir, r.Pool, r.Replica, url, spec.Handoff, func(c *container.InspectResponse) {
		c.Config.Labels[docker.LabelRunDigest] = spec.RunDigest()
	})
	return f, r, img, local
}
