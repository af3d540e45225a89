package llb_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

func level(s *subject) { s.CPU = "x86-64-v3" }

// What must not make anything compile again, and what must.
func TestWhatEntersTheKeys(t *testing.T) {
	t.Parallel()
	server, cpuPart := "[compile] llama-server", "[compile] ggml-cpu"
	compiles := []string{"[compile] common", "[compile] ggml", cpuPart, "[compile] ggml-cpu-kernels", "[compile] ggml-cpu-ops", "[compile] llama", server, "[compile] mtmd"}
	all := slices.Concat(compiles, []string{"[probe]", "[runtime]", "[source]", "[toolchain]", "image"})
	withCUDA := slices.Insert(slices.Clone(compiles), 5, "[compile] ggml-cuda")
	for name, c := range map[string]struct {
		from    subject
		change  change
		changed []string
	}{
		"the image's name":         {cpu(), func(s *subject) { s.Tags = []string{"me/llama:1"} }, nil},
		"the name of the ref":      {cpu(), func(s *subject) { s.Ref = "master" }, nil},
		"the commit's time":        {cpu(), func(s *subject) { s.Facts.Source.Time = time.Time{} }, nil},
		"a release or not":         {cpu(), func(s *subject) { s.Facts.Source.Tag = "" }, []string{"[compile] llama", server, "image"}},
		"where a folder is":        {cpu().with(local), func(s *subject) { s.Source = "/elsewhere" }, nil},
		"a folder or its commit":   {cpu().with(local), func(s *subject) { s.Facts.Source.Kind = images.SourceCommit }, nil},
		"a commit":                 {cpu(), func(s *subject) { s.Facts.Source.Commit = strings.Repeat("1", 40) }, slices.Concat(compiles, []string{"[source]", "image"})},
		"a CMake flag":             {cpu(), func(s *subject) { s.CMakeFlags = []string{"-DGGML_LTO=ON"} }, slices.Concat(compiles, []string{"image"})},
		"a CPU level":              {cpu().with(level), func(s *subject) { s.CPU = "x86-64-v4" }, []string{cpuPart, "image"}},
		"a CUDA architecture":      {cpu().with(cuda), func(s *subject) { s.CUDAArch = []string{"86", "90"} }, []string{"[compile] ggml-cuda", "image"}},
		"the runtime base":         {cpu().with(runtimeBase), func(s *subject) { s.Facts.Runtime.Digest = sha("c") }, []string{"image"}},
		"the build base":           {cpu(), func(s *subject) { s.Facts.Build.Digest = sha("c") }, all},
		"the build base' settings": {cpu(), func(s *subject) { s.Facts.Build.Env = []string{"PATH=/bin"} }, all},
		"the architecture":         {cpu(), func(s *subject) { s.Platform = "linux/arm64" }, all},
		"a fresh build":            {cpu(), func(s *subject) { s.opt.Fresh = "once" }, slices.Concat(compiles, []string{"[probe]", "[runtime]", "[toolchain]", "image"})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			digests := func(s subject) map[string]string {
				all := s.ops(t)
				out := map[string]string{"image": all[len(all)-1].digest.String()}
				for name, o := range s.execs(t) {
					out[name] = o.digest.String()
				}
				return out
			}
			before, after := digests(c.from), digests(c.from.with(c.change))
			var changed []string
			for _, name := range slices.Concat(withCUDA, []string{"[probe]", "[runtime]", "[source]", "[toolchain]", "image"}) {
				if before[name] != after[name] {
					changed = append(changed, name)
				}
			}
			if diff := cmp.Diff(c.changed, changed); diff != "" {
				t.Error(diff)
			}
		})
	}

	// Labels are decided after the graph: not even a plan that has other ones.
	t.Run("labels", func(t *testing.T) {
		t.Parallel()
		p := cpu().plan(t)
		head := func() digest.Digest {
			g, err := llb.Build(p, modern, llb.Options{})
			if err != nil {
				t.Fatal(err)
			}
			def, err := g.Image.Marshal(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return llb.Digest(def)
		}
		before := head()
		p.Image.Labels, p.Image.Port, p.Image.User = map[string]string{"a": "b"}, 9999, "1:1"
		if head() != before {
			t.Error("what the config says is part of the graph")
		}
	})
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	for name, s := range subjects {
		for step, o := range s.execs(t) {
			var ids []string
			for _, m := range o.Op.GetExec().Mounts {
				if m.MountType == pb.MountType_SECRET {
					ids = append(ids, m.SecretOpt.ID)
					if !m.SecretOpt.Optional {
						t.Errorf("%s: %s cannot do without %s", name, step, m.SecretOpt.ID)
					}
				}
			}
			var want []string
			if s.hasNetwork(step) {
				want = []string{llb.CASecret}
			}
			if strings.HasPrefix(step, "[fetch]") {
				want = []string{llb.SnapshotsSecret, llb.CASecret}
			}
			if strings.HasPrefix(step, "[compile]") {
				want = []string{llb.JobsSecret}
			}
			if diff := cmp.Diff(want, ids); diff != "" {
				t.Errorf("%s: %s: %s", name, step, diff)
			}
			// How many compilers run is in the secret and nowhere else.
			for _, arg := range slices.Concat(o.Op.GetExec().Meta.Args, o.Op.GetExec().Meta.Env) {
				if strings.HasPrefix(arg, "-j") || strings.Contains(arg, "PARALLEL") || strings.Contains(arg, "SOURCE_DATE_EPOCH") {
					t.Errorf("%s: %s is keyed by %q", name, step, arg)
				}
			}
		}
	}
}

// What leads out of a network is for the one step that goes there. BuildKit leaves
// it out of the key; that the op differs is what it is cleared from.
func TestProxy(t *testing.T) {
	t.Parallel()
	const secret = "http://me:secret@proxy.example.com:3128"
	for name, s := range subjects {
		s := s.with(func(s *subject) { s.opt.Proxy = llb.Proxy{HTTP: secret, HTTPS: secret, No: "localhost"} })
		for step, o := range s.execs(t) {
			meta := o.Op.GetExec().Meta
			if got := meta.ProxyEnv.GetHttpsProxy(); (got == secret) != s.hasNetwork(step) {
				t.Errorf("%s: %s has the proxy %q", name, step, got)
			}
			for _, v := range slices.Concat(meta.Args, meta.Env) {
				if strings.Contains(v, "secret") {
					t.Errorf("%s: %s is keyed by %q", name, step, v)
				}
			}
		}
		if strings.Contains(string(s.graph(t).Config), "secret") {
			t.Errorf("%s: the proxy is in the image's config", name)
		}
	}
}

// Whoever has built for the CPU has compiled all of an image for GPUs but the
// GPU's backend, and a change of the server reaches nothing of the GPU's.
func TestGPUVariantsShareTheCPUs(t *testing.T) {
	t.Parallel()
	base := cpu().execs(t)
	for name, variant := range map[string]change{"cuda": cuda, "cuda-debian": cudaDebian, "vulkan": vulkan} {
		gpu := cpu().with(variant).execs(t)
		for step, o := range base {
			// The sorting step has one more folder to sort into, and Vulkan's drivers are packages.
			if step != "[source]" && (step != "[runtime]" || name != "vulkan") && !strings.HasPrefix(step, "[compile]") && step != "[ui]" && gpu[step].digest != o.digest {
				t.Errorf("%s: %s is another step than for the CPU", name, step)
			}
			if strings.HasPrefix(step, "[compile]") {
				x, y := o.Op.GetExec(), gpu[step].Op.GetExec()
				if diff := cmp.Diff(x.Meta.Args, y.Meta.Args); diff != "" {
					t.Errorf("%s: %s has other arguments:\n%s", name, step, diff)
				}
				if diff := cmp.Diff(x.Meta.Env, y.Meta.Env); diff != "" {
					t.Errorf("%s: %s has another environment:\n%s", name, step, diff)
				}
			}
		}
	}
}

// Sources and results of earlier steps are keyed by their content: no mount of a
// compile but its root and its result is an output.
func TestCompilesAreKeyedByContent(t *testing.T) {
	t.Parallel()
	for name, s := range subjects {
		for step, o := range s.execs(t) {
			if !strings.HasPrefix(step, "[compile]") && step != "[source]" {
				continue
			}
			for _, m := range o.Op.GetExec().Mounts {
				output := m.Output != int64(pb.SkipOutput)
				if want := m.Dest == "/" || m.Dest == "/out"; output != want && m.MountType == pb.MountType_BIND {
					t.Errorf("%s: %s: mount %s is an output: %v", name, step, m.Dest, output)
				}
			}
		}
	}
}

// A step that names the commit is another one with each commit: only the server,
// and what sorts the files, may.
func TestOnlyTheServerKnowsTheCommit(t *testing.T) {
	t.Parallel()
	for name, s := range subjects {
		for step, o := range s.execs(t) {
			knows := slices.ContainsFunc(o.Op.GetExec().Meta.Args, func(a string) bool { return strings.Contains(a, commit[:7]) })
			if knows != (step == "[compile] llama-server") {
				t.Errorf("%s: %s knows the commit: %v", name, step, knows)
			}
		}
	}
}

func cacheMounts(t *testing.T, s subject) map[string]*pb.Mount {
	t.Helper()
	out := map[string]*pb.Mount{}
	for step, o := range s.execs(t) {
		for _, m := range o.Op.GetExec().Mounts {
			if m.MountType != pb.MountType_CACHE {
				continue
			}
			dest := m.Dest
			if step == "[gpu-toolchain]" || step == "[compile] ggml-cuda" {
				dest = "gpu " + dest
			}
			out[dest] = m
		}
	}
	return out
}

func TestCacheMounts(t *testing.T) {
	t.Parallel()
	const apt, lists, ccache, npm, slots = "/var/cache/apt", "/var/lib/apt/lists", "/ccache", "/npm", "/slots"
	for name, want := range map[string]map[string]string{
		"cpu-portable-amd64": {
			apt: "llorch-apt-amd64-debian-trixie-slim-archives", lists: "llorch-apt-amd64-debian-trixie-slim-lists",
			ccache: "llorch-ccache-amd64-debian-trixie-slim", npm: "llorch-npm", slots: "llorch-slots",
		},
		"cpu-portable-arm64": {
			apt: "llorch-apt-arm64-debian-trixie-slim-archives", lists: "llorch-apt-arm64-debian-trixie-slim-lists",
			ccache: "llorch-ccache-arm64-debian-trixie-slim", npm: "llorch-npm", slots: "llorch-slots",
		},
		// Packages that are locked come from nowhere else.
		"locked": {ccache: "llorch-ccache-amd64-debian-trixie-slim", npm: "llorch-npm", slots: "llorch-slots"},
		// What is not CUDA's is cached as for the CPU alone.
		"cuda": {
			apt: "llorch-apt-amd64-debian-trixie-slim-archives", lists: "llorch-apt-amd64-debian-trixie-slim-lists",
			ccache: "llorch-ccache-amd64-debian-trixie-slim", npm: "llorch-npm", slots: "llorch-slots",
			"gpu " + apt: "llorch-apt-amd64-nvidia-cuda-12.8.1-devel-ubuntu24.04-archives", "gpu " + lists: "llorch-apt-amd64-nvidia-cuda-12.8.1-devel-ubuntu24.04-lists",
			// All toolchains take turns for one machine's memory.
			"gpu " + slots:  "llorch-slots",
			"gpu " + ccache: "llorch-ccache-amd64-nvidia-cuda-12.8.1-devel-ubuntu24.04",
		},
	} {
		got := map[string]string{}
		for dest, m := range cacheMounts(t, subjects[name]) {
			got[dest] = m.CacheOpt.ID
			// A cache mount is keyed by its source too: it has none.
			if m.Input != int64(pb.Empty) {
				t.Errorf("%s: %s has a source", name, dest)
			}
			sharing := pb.CacheSharingOpt_LOCKED
			if strings.HasSuffix(dest, ccache) || strings.HasSuffix(dest, slots) || dest == npm {
				sharing = pb.CacheSharingOpt_SHARED
			}
			if m.CacheOpt.Sharing != sharing {
				t.Errorf("%s: %s is %s", name, dest, m.CacheOpt.Sharing)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestFreshKeepsTheCacheMounts(t *testing.T) {
	t.Parallel()
	before := cacheMounts(t, cpu())
	fresh := cpu().with(func(s *subject) { s.opt.Fresh = "once" })
	for dest, m := range cacheMounts(t, fresh) {
		if b := before[dest]; b == nil || b.CacheOpt.ID != m.CacheOpt.ID || b.Input != m.Input {
			t.Errorf("%s is another mount in a fresh build", dest)
		}
	}
	for _, o := range fresh.ops(t) {
		if o.Metadata.IgnoreCache {
			t.Errorf("%s ignores the cache, and with it its cache mounts", o.name())
		}
	}
}
