package engine_test

import (
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

func sample() engine.Spec {
	return engine.Spec{
		Project: "/p/.runtime/engines", Pool: "default", Replica: "r0",
		Handoff: "/p/.runtime/engines/llamacpp.json",
		Image:   "sha256:1", ImageRef: "llorch/llama:x",
		Flags: []string{"--parallel", "1"},
		Model: engine.Model{HostDir: "/m/models--a--b", HostFile: "/m/models--a--b/snapshots/1/x.gguf"},
	}
}

// What changes the container changes the digest, and nothing else does.
func TestRunDigest(t *testing.T) {
	t.Parallel()
	base := sample().RunDigest()
	if !strings.HasPrefix(base, "sha256:") || len(base) != 71 {
		t.Fatalf("digest %q", base)
	}
	for name, change := range map[string]func(*engine.Spec){
		"image":      func(s *engine.Spec) { s.Image = "sha256:2" },
		"flags":      func(s *engine.Spec) { s.Flags = []string{"--parallel", "2"} },
		"flag words": func(s *engine.Spec) { s.Flags = []string{"--parallel 1"} },
		"entrypoint": func(s *engine.Spec) { s.Entrypoint = []string{"x"} },
		"model file": func(s *engine.Spec) { s.Model.HostFile = s.Model.HostDir + "/y.gguf" },
		"model hash": func(s *engine.Spec) { s.Model.SHA256 = "1" },
		"listen":     func(s *engine.Spec) { s.Listen = "0.0.0.0" },
		"fixed port": func(s *engine.Spec) { s.Port = 1 },
		"user":       func(s *engine.Spec) { s.User = "1" },
		"gpus":       func(s *engine.Spec) { s.GPUs = "all" },
		"memory":     func(s *engine.Spec) { s.Memory = 1 << 30 },
		"cpus":       func(s *engine.Spec) { s.CPUs = 1 },
		"restart":    func(s *engine.Spec) { s.Restart = "always" },
		"cache":      func(s *engine.Spec) { s.GPUCache = true },
		"env":        func(s *engine.Spec) { s.Env = []string{"A=b"} },
		"pool":       func(s *engine.Spec) { s.Pool = "x" },
		"a file":     func(s *engine.Spec) { s.Files = []engine.File{{Host: "/h/t", Path: "/files/0/t"}} },
		"a volume":   func(s *engine.Spec) { s.Volumes = []engine.Volume{{Name: "slots"}} },
	} {
		s := sample()
		change(&s)
		if s.RunDigest() == base {
			t.Errorf("%s: the digest stays", name)
		}
	}
	for name, change := range map[string]func(*engine.Spec){
		"nothing":          func(*engine.Spec) {},
		"preferred port":   func(s *engine.Spec) { s.PreferPort = 1 },
		"labels":           func(s *engine.Spec) { s.Labels = map[string]string{"a": "b"} },
		"image's name":     func(s *engine.Spec) { s.ImageRef = "other" },
		"spelled defaults": func(s *engine.Spec) { s.Listen, s.User, s.GPUs, s.Restart = "127.0.0.1", "65532:65532", "none", "no" },
		"empty env":        func(s *engine.Spec) { s.Env = []string{} },
	} {
		s := sample()
		change(&s)
		if s.RunDigest() != base {
			t.Errorf("%s: the digest changes", name)
		}
	}
	// A file whose content changed is another one.
	x, y := sample(), sample()
	x.Files = []engine.File{{Host: "/h/t", Path: "/files/0/t", Digest: "sha256:1"}}
	y.Files = []engine.File{{Host: "/h/t", Path: "/files/0/t", Digest: "sha256:2"}}
	if x.RunDigest() == y.RunDigest() {
		t.Error("a file's content does not count")
	}
	// The same content elsewhere is the same run.
	y.Files = []engine.File{{Host: "/elsewhere/t", Path: "/files/0/t", Digest: "sha256:1"}}
	if x.RunDigest() != y.RunDigest() {
		t.Error("it counts where a file of known content is")
	}
	// What is known by its content is the same wherever it is, under the same name.
	known := sample()
	known.Model.Content, known.Model.SHA256 = "1", "1"
	moved := known
	moved.Model.HostFile = "/m/models--a--b/snapshots/2/x.gguf"
	renamed, changed := known, known
	renamed.Model.HostFile = "/m/models--a--b/snapshots/1/y.gguf"
	changed.Model.Content = "2"
	if known.RunDigest() != moved.RunDigest() {
		t.Error("another snapshot of the same content changes the digest")
	}
	for name, s := range map[string]engine.Spec{"name": renamed, "content": changed, "no content": sample()} {
		if s.RunDigest() == known.RunDigest() {
			t.Errorf("another %s leaves the digest", name)
		}
	}
	a, b := sample(), sample()
	a.Env, b.Env = []string{"A=1", "B=2"}, []string{"B=2", "A=1"}
	if a.RunDigest() != b.RunDigest() || a.Env[0] != "A=1" {
		t.Error("the order of variables counts")
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	if err := sample().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*engine.Spec)
		text   string
	}{
		"pool":                  {func(s *engine.Spec) { s.Pool = "A" }, "pool"},
		"replica":               {func(s *engine.Spec) { s.Replica = "a-b" }, "replica"},
		"project":               {func(s *engine.Spec) { s.Project = "x" }, "absolute"},
		"image":                 {func(s *engine.Spec) { s.Image = "" }, "no image"},
		"relative":              {func(s *engine.Spec) { s.Model = engine.Model{HostFile: "x.gguf"} }, "must be absolute"},
		"outside":               {func(s *engine.Spec) { s.Model.HostFile = "/elsewhere/x.gguf" }, "not in"},
		"listen":                {func(s *engine.Spec) { s.Listen = "localhost" }, "IP address"},
		"port":                  {func(s *engine.Spec) { s.Port = 65536 }, "`port`"},
		"root":                  {func(s *engine.Spec) { s.User = "0:0" }, "not root"},
		"root again":            {func(s *engine.Spec) { s.User = "00" }, "not root"},
		"named user":            {func(s *engine.Spec) { s.User = "root" }, "numeric"},
		"restart":               {func(s *engine.Spec) { s.Restart = "never" }, "`restart`"},
		"gpus":                  {func(s *engine.Spec) { s.GPUs = "0,,1" }, "`gpus`"},
		"memory":                {func(s *engine.Spec) { s.Memory = 5 }, "`memory`"},
		"cpus":                  {func(s *engine.Spec) { s.CPUs = -1 }, "`cpus`"},
		"a relative file":       {func(s *engine.Spec) { s.Files = []engine.File{{Host: "t", Path: "/files/0/t"}} }, "not absolute"},
		"a file over the model": {func(s *engine.Spec) { s.Files = []engine.File{{Host: "/h/t", Path: "/models/t"}} }, `at "/models/t"`},
		"a file that climbs":    {func(s *engine.Spec) { s.Files = []engine.File{{Host: "/h/t", Path: "/files/0/../../t"}} }, "cannot be at"},
		"a volume that climbs":  {func(s *engine.Spec) { s.Volumes = []engine.Volume{{Name: ".."}} }, "cannot be called"},
	} {
		s := sample()
		c.change(&s)
		err := s.Validate()
		if fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// All that is wrong is said at once.
	s := sample()
	s.Port, s.Restart = -1, "x"
	if err := s.Validate(); !strings.Contains(err.Error(), "`port`") || !strings.Contains(err.Error(), "`restart`") {
		t.Errorf("two faults: %v", err)
	}
}
