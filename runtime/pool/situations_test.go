package pool_test

import (
	"time"

	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/pool"
	"github.com/llorch/llorch-bk/runtime/replica"
)

const project = "/p/.runtime/engines"

var (
	id  = replica.ID{Project: project, Pool: "default", Replica: "r0"}
	now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
)

// wanted is a server without a GPU.
func wanted() pool.Wanted {
	return pool.Wanted{Spec: engine.Spec{
		Project: project, Pool: "default", Replica: "r0", Handoff: project + "/llamacpp.json",
		Image: "sha256:new", ImageRef: "llorch-bk:new", Flags: []string{"--metrics"},
		Model:  engine.Model{HostFile: "/m/x.gguf", SHA256: "abc"},
		Labels: map[string]string{engine.LabelModel: "hf:o/x", engine.LabelFlags: `["--metrics"]`},
	}}
}

// inSnapshot is the same with a model of known content, which is in the folder of a commit.
func inSnapshot(commit string) pool.Wanted {
	w := wanted()
	w.Spec.Model = engine.Model{HostFile: "/m/snapshots/" + commit + "/x.gguf", HostDir: "/m", SHA256: "abc", Content: "abc"}
	w.Spec.Labels[engine.LabelContent] = "abc"
	return w
}

// onGPU is the same for a GPU; cpu is what --allow-cpu allows.
func onGPU(cpu bool) pool.Wanted {
	w := wanted()
	if cpu {
		spec := w.Spec
		spec.Flags = []string{"--n-gpu-layers", "0", "--metrics"}
		w.CPU = &spec
	}
	w.Spec.GPUs, w.Spec.Device, w.Spec.GPUCache = "all", "CUDA", true
	w.Spec.Labels = map[string]string{engine.LabelModel: "hf:o/x", engine.LabelFlags: `["--metrics"]`, engine.LabelDeviceMask: "all"}
	return w
}

// withFiles is a server whose flags name a file with this content, and a folder to
// write to.
func withFiles(digest string) pool.Wanted {
	w := wanted()
	w.Spec.Files = []engine.File{{Host: "/h/chat.jinja", Path: "/files/0/chat.jinja", Digest: digest}}
	w.Spec.Volumes = []engine.Volume{{Name: "slot-save-path"}}
	w.Spec.Labels = map[string]string{engine.LabelModel: "hf:o/x", engine.LabelFlags: `["--metrics"]`, engine.LabelFiles: digest}
	return w
}

// fromOutside is the same with a model that nobody has tried.
func fromOutside(w pool.Wanted) pool.Wanted {
	w.Try = "new from huggingface.co"
	return w
}

// server is a running server made from a spec; changes say what is special about it.
func server(spec engine.Spec, change ...func(*engine.Server)) engine.Server {
	s := engine.Server{
		ID: "c-own", Name: spec.Of().Name(), Project: spec.Project, Pool: spec.Pool, Replica: spec.Replica,
		RunDigest: spec.RunDigest(), Image: spec.Image, ImageRef: spec.ImageRef, Port: 4242, URL: "http://127.0.0.1:4242",
		Handoff: spec.Handoff, ModelPath: spec.Model.HostFile, Labels: spec.Labels,
		State: engine.State{Status: "running", Running: true, CreatedAt: now.Add(-time.Hour), StartedAt: now.Add(-time.Hour)},
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

func otherImage(s *engine.Server)  { s.Image, s.RunDigest = "sha256:old", "sha256:other" }
func exited(s *engine.Server)      { s.State.Status, s.State.Running, s.State.ExitCode = "exited", false, 1 }
func oom(s *engine.Server)         { exited(s); s.State.OOMKilled = true }
func paused(s *engine.Server)      { s.State.Status, s.State.Running = "paused", false }
func justCreated(s *engine.Server) { created(s); s.State.CreatedAt = now.Add(-time.Second) }

func created(s *engine.Server) {
	s.State = engine.State{Status: "created", CreatedAt: now.Add(-time.Minute)}
}

func standby(s *engine.Server) { s.ID, s.Name, s.Standby = "c-next", s.Of().StandbyName(), true }

// file is the handoff that tells the truth about a server.
func file(s engine.Server, change ...func(*pool.Handoff)) pool.Handoff {
	h := pool.Handoff{
		Path: project + "/llamacpp.json", Pool: s.Pool, Replica: s.Replica, Container: s.ID, StartedAt: s.State.StartedAt,
		URL: s.URL, Engine: "ENGINE",
	}
	for _, c := range change {
		c(&h)
	}
	return h
}

func ofGone(h *pool.Handoff)      { h.Container = "c-gone" }
func ofElsewhere(h *pool.Handoff) { ofGone(h); h.Engine, h.EngineHost = "ANOTHER", "tcp://far:2376" }
func answers(h *pool.Handoff)     { h.Answers = true }
func ofBefore(h *pool.Handoff)    { ofGone(h); h.Engine = "" }

func seen(servers []engine.Server, handoffs ...pool.Handoff) pool.Seen {
	return pool.Seen{At: now, Engine: "ENGINE", CPUs: 4, Servers: servers, Handoffs: handoffs}
}

func list(s ...engine.Server) []engine.Server { return s }

// situation is what a plan is made for.
type situation struct {
	want pool.Wanted
	seen pool.Seen
}

// runs are the situations of run and up, by the name of their golden file.
func runs() map[string]situation {
	w, gpu, gpuOrCPU := wanted(), onGPU(false), onGPU(true)
	own := server(w.Spec)
	old := server(w.Spec, otherImage)
	with := func(change func(*engine.Spec)) pool.Wanted {
		w := wanted()
		change(&w.Spec)
		return w
	}
	fixed := with(func(s *engine.Spec) { s.Port = 45781 })
	portOf := func(s pool.Seen, h engine.Holder) pool.Seen { s.Port = h; return s }
	differs := func(change func(*engine.Server)) engine.Server {
		return server(w.Spec, func(s *engine.Server) { s.RunDigest = "sha256:other"; change(s) })
	}
	cpu := server(*gpuOrCPU.CPU)
	return map[string]situation{
		"nothing-there":             {w, seen(nil)},
		"model-from-outside":        {fromOutside(w), seen(nil)},
		"model-from-outside-known":  {fromOutside(w), seen(list(own), file(own))},
		"model-from-outside-gpu":    {fromOutside(gpuOrCPU), seen(list(old), file(old))},
		"same-digest":               {w, seen(list(own), file(own))},
		"same-digest-no-handoff":    {w, seen(list(own))},
		"same-digest-stale-handoff": {w, seen(list(own), file(own, ofGone))},
		"same-digest-restarted":     {w, seen(list(own), file(own, func(h *pool.Handoff) { h.StartedAt = now.Add(-2 * time.Hour) }))},
		"other-image":               {w, seen(list(old), file(old))},
		"other-image-no-handoff":    {w, seen(list(old))},
		"other-model":               {w, seen(list(differs(func(s *engine.Server) { s.ModelPath = "/m/y.gguf" })))},
		"new-commit-same-model":     {inSnapshot("2"), seen(list(server(inSnapshot("1").Spec)))},
		"new-commit-other-image":    {inSnapshot("2"), seen(list(server(inSnapshot("1").Spec, otherImage)))},
		"new-commit-other-flags": {inSnapshot("2"), seen(list(server(inSnapshot("1").Spec, func(s *engine.Server) {
			s.RunDigest, s.Labels = "sha256:other", map[string]string{engine.LabelModel: "hf:o/x", engine.LabelFlags: "[]", engine.LabelContent: "abc"}
		})))},
		"same-path-other-content": {inSnapshot("1"), seen(list(server(inSnapshot("1").Spec, func(s *engine.Server) {
			s.RunDigest, s.Labels = "sha256:other", map[string]string{engine.LabelModel: "hf:o/x", engine.LabelFlags: `["--metrics"]`, engine.LabelContent: "def"}
		})))},
		"other-flags": {w, seen(list(differs(func(s *engine.Server) {
			s.Labels = map[string]string{engine.LabelModel: "hf:o/x", engine.LabelFlags: "[]"}
		})))},
		"with-files": {withFiles("1"), seen(nil)},
		"other-companions": {with(func(s *engine.Spec) {
			s.Files = []engine.File{{Host: "/m/mmproj.gguf", Path: "/files/0/mmproj.gguf", Digest: "sha256:1"}}
			s.Labels = map[string]string{engine.LabelModel: "hf:o/x", engine.LabelFlags: `["--metrics"]`, engine.LabelCompanions: "[]", engine.LabelFiles: "[]"}
		}), seen(list(own), file(own))},
		"other-files":                          {withFiles("2"), seen(list(server(withFiles("1").Spec)), file(own))},
		"other-limits":                         {w, seen(list(differs(func(*engine.Server) {})))},
		"other-port":                           {fixed, seen(list(own), file(own))},
		"other-gpus":                           {gpu, seen(list(server(w.Spec)), file(own))},
		"dead":                                 {w, seen(list(server(w.Spec, exited)), file(own))},
		"dead-of-memory":                       {w, seen(list(server(w.Spec, oom)))},
		"paused":                               {w, seen(list(server(w.Spec, paused)), file(own))},
		"created-never-started":                {w, seen(list(server(w.Spec, created)))},
		"created-a-moment-ago":                 {w, seen(list(server(w.Spec, justCreated)))},
		"foreign-project":                      {w, seen(list(server(w.Spec, func(s *engine.Server) { s.Project = "/q"; s.Name = s.Of().Name() })))},
		"foreign-container-has-the-name":       {w, seen(list(engine.Server{ID: "c-x", Name: id.Name(), Foreign: true}))},
		"gpu":                                  {gpu, seen(nil)},
		"gpu-or-cpu":                           {gpuOrCPU, seen(nil)},
		"gpu-or-cpu-runs-on-cpu":               {gpuOrCPU, seen(list(cpu), file(cpu))},
		"gpu-or-cpu-other-image":               {gpuOrCPU, seen(list(old), file(old))},
		"gpu-other-image":                      {gpu, seen(list(server(gpu.Spec, otherImage)), file(own))},
		"gpu-same-digest":                      {gpu, seen(list(server(gpu.Spec)))},
		"port-taken":                           {fixed, portOf(seen(list(old), file(old)), engine.Holder{Taken: true, Who: "another program"})},
		"port-taken-by-a-container":            {fixed, portOf(seen(nil), engine.Holder{Taken: true, Who: "the container web", Server: "c-web"})},
		"port-is-its-own":                      {fixed, portOf(seen(list(old), file(old)), engine.Holder{Taken: true, Who: "the container x", Server: "c-own"})},
		"more-cpus-than-there-are":             {with(func(s *engine.Spec) { s.CPUs = 64 }), seen(list(own), file(own))},
		"handoff-stale":                        {w, seen(nil, file(own, ofGone))},
		"handoff-of-another-engine":            {w, seen(nil, file(own, ofElsewhere))},
		"handoff-of-another-engine-that-works": {w, seen(nil, file(own, ofElsewhere, answers))},
		"handoff-without-an-engine":            {w, seen(nil, file(own, ofBefore))},
		"handoff-is-something-else":            {w, seen(list(old), pool.Handoff{Path: project + "/llamacpp.json", Pool: "default", Replica: "r0", Broken: "it is no JSON"})},
		"killed-while-replacing":               {w, seen(list(server(w.Spec, otherImage, exited), server(w.Spec, otherImage, standby, exited)))},
		"killed-before-the-new-name":           {w, seen(list(server(w.Spec, standby)))},
		"replaced-by-somebody-else":            {w, seen(list(server(w.Spec, otherImage, exited), server(w.Spec, standby)))},
		"being-replaced-by-somebody-else":      {w, seen(list(old, server(w.Spec, standby, justCreated)))},
		"image-and-model-to-come": {func() pool.Wanted {
			w := wanted()
			w.Build, w.Fetch = "none that fits is in the engine", "it is not on this machine"
			return w
		}(), seen(list(own), file(own))},
	}
}
