package buildkit

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestCollect(t *testing.T) {
	t.Parallel()
	const debian = "docker.io/library/debian:trixie-slim"
	registry := func(ref, mode string) (*gwpb.ResolveImageConfigResponse, error) {
		if mode != "default" {
			return nil, status.Error(codes.NotFound, "not in this engine")
		}
		return &gwpb.ResolveImageConfigResponse{Digest: sha("b"), Config: imageConfig("A=1")}, nil
	}
	unreachable := func(ref, mode string) (*gwpb.ResolveImageConfigResponse, error) {
		return nil, status.Error(codes.Unknown, `failed to do request: Head "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host`)
	}
	engineOnly := func(ref, mode string) (*gwpb.ResolveImageConfigResponse, error) {
		if mode == "local" {
			return &gwpb.ResolveImageConfigResponse{Config: imageConfig("A=1")}, nil
		}
		return unreachable(ref, mode)
	}
	local := func(load func(context.Context) error) *LocalBase {
		return &LocalBase{Ref: "llorch.local/debian:trixie", Manifest: digest.Digest(sha("a")), Config: imageConfig("A=2"), Load: load}
	}
	id := digest.FromBytes(imageConfig("A=1")).String()
	for name, c := range map[string]struct {
		daemon   *daemon
		embedded bool
		change   func(*Query)
		want     images.BaseFacts
		notices  int
		class    fault.Class
		says     string
	}{
		"a registry": {
			daemon: &daemon{resolve: registry},
			want:   images.BaseFacts{Ref: debian, Digest: sha("b"), Env: []string{"A=1"}},
		},
		"a registry is asked before the local base": {
			daemon: &daemon{resolve: registry}, change: func(q *Query) { q.Local = local(nil) },
			want: images.BaseFacts{Ref: debian, Digest: sha("b"), Env: []string{"A=1"}},
		},
		"no registry, but the engine has it": {
			daemon: &daemon{resolve: engineOnly}, embedded: true,
			want: images.BaseFacts{Ref: debian, ID: id, Env: []string{"A=1"}}, notices: 1,
		},
		"no registry, the local base as a layout": {
			daemon: &daemon{resolve: unreachable}, change: func(q *Query) { q.Local = local(nil) },
			want: images.BaseFacts{Ref: "llorch.local/debian:trixie", Digest: sha("a"), Layout: true, Env: []string{"A=2"}}, notices: 1,
		},
		"the local base, named": {
			daemon: &daemon{resolve: unreachable}, change: func(q *Query) { q.Local, q.Request.Base = local(nil), "llorch.local/debian:trixie" },
			want: images.BaseFacts{Ref: "llorch.local/debian:trixie", Digest: sha("a"), Layout: true, Env: []string{"A=2"}},
		},
		"no registry": {
			daemon: &daemon{resolve: unreachable}, class: fault.Machine,
			says: "cannot pull the base image debian:trixie-slim: dial tcp: lookup registry-1.docker.io: no such host",
		},
		"the local base is no stand-in for the user's": {
			daemon: &daemon{resolve: unreachable}, change: func(q *Query) { q.Local, q.Request.Base = local(nil), "docker.io/library/debian:sid" },
			class: fault.Machine, says: "cannot pull the base image debian:sid",
		},
		"an old builder takes no layout": {
			daemon: &daemon{resolve: unreachable, without: []apicaps.CapID{pb.CapSourceOCILayout}}, change: func(q *Query) { q.Local = local(nil) },
			class: fault.Machine, says: "does not accept a base image from this machine",
		},
		"the engine does not take the base": {
			daemon: &daemon{resolve: unreachable, without: []apicaps.CapID{pb.CapSourceOCILayout}}, embedded: true,
			change: func(q *Query) {
				q.Local = local(func(context.Context) error { return fault.New(fault.Machine, "the base cannot be loaded", nil, "") })
			},
			class: fault.Machine, says: "the base cannot be loaded", notices: 1,
		},
		// Only what cannot be reached is replaced.
		"a registry that refuses, and the engine has it": {
			daemon: &daemon{resolve: engineOnly}, embedded: true, change: func(q *Query) { q.Reach = answers },
			class: fault.Machine, says: "cannot pull the base image debian:trixie-slim",
		},
		"a registry that refuses, and there is a local base": {
			daemon: &daemon{resolve: unreachable}, change: func(q *Query) { q.Local, q.Reach = local(nil), answers },
			class: fault.Machine, says: "cannot pull the base image debian:trixie-slim",
		},
		// What a bundle has is what the lock says of it, wherever that came from.
		"a lock's base out of a bundle": {
			daemon: &daemon{resolve: unreachable}, change: bundled(imageConfig("A=3"), nil),
			want: images.BaseFacts{Ref: debian, Digest: sha("c"), Env: []string{"A=3"}},
		},
		"a lock's base that is not in the bundle": {
			daemon: &daemon{resolve: registry}, change: bundled(nil, errors.New("it is not there")),
			class: fault.Machine, says: "cannot pull the lock's build_base debian:trixie-slim@" + sha("c") + ": it is not there",
		},
		"an old engine takes no base out of a bundle": {
			daemon: &daemon{resolve: registry, without: []apicaps.CapID{pb.CapSourceOCILayout}}, embedded: true, change: bundled(imageConfig(), nil),
			class: fault.Machine, says: "does not accept a base image from this machine",
		},
		"a tree that cannot be read": {
			daemon: &daemon{resolve: registry, unreadable: status.Error(codes.Unavailable, "the disk is gone")},
			class:  fault.Build, says: "the disk is gone",
		},
		"another project": {
			daemon: &daemon{resolve: registry, files: map[string]string{"CMakeLists.txt": "project(whisper.cpp)"}},
			class:  fault.Usage, says: "not a llama.cpp tree",
		},
		"a commit that is not there": {
			daemon: &daemon{resolve: registry, solve: func(context.Context) error {
				return status.Error(codes.Unknown, "failed to fetch remote: fatal: remote error: upload-pack: not our ref")
			}},
			class: fault.Usage, says: "no commit de3ff81",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.daemon.files == nil {
				c.daemon.files = llamaTree()
			}
			d := serve(t, c.daemon)
			b := d.dial
			if c.embedded {
				b = d.embed
			}
			var notices []string
			q := query(c.change)
			q.Notice = func(s string) { notices = append(notices, s) }
			if q.Reach == nil {
				q.Reach = away
			}
			f, err := b(t).Collect(t.Context(), q)
			if c.class != 0 {
				if fault.ClassOf(err) != c.class || !strings.Contains(err.Error(), c.says) {
					t.Errorf("class %d: %v\nwant class %d with %q", fault.ClassOf(err), err, c.class, c.says)
				}
				return
			}
			if err != nil {
				t.Fatal(fault.Report(err))
			}
			if diff := cmp.Diff(c.want, f.Build); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(&images.Tree{ServerDir: "tools/server", Licences: []string{"LICENSE"}, Layout: images.LayoutWhole, LayoutWhy: "it has no ggml/src/CMakeLists.txt"}, f.Source.Tree); diff != "" {
				t.Error(diff)
			}
			if f.Source.Commit != commit || len(notices) != c.notices {
				t.Errorf("commit %s, notices %q", f.Source.Commit, notices)
			}
			if _, _, asked := d.recorded(); slices.Contains(asked, "default "+"llorch.local/debian:trixie") {
				t.Errorf("a registry was asked for a local name: %q", asked)
			}
		})
	}
}

// bundled is a query for a lock whose base a bundle has, with a config or an error.
func bundled(config []byte, err error) func(*Query) {
	return func(q *Query) {
		q.Locked = &images.Facts{Build: images.BaseFacts{Ref: "docker.io/library/debian:trixie-slim", Digest: sha("c")}}
		q.Kept.Images = struct{ content.Store }{}
		q.Kept.Config = func(string) ([]byte, error) { return config, err }
	}
}

func TestCollectBothBases(t *testing.T) {
	t.Parallel()
	d := serve(t, &daemon{files: llamaTree(), resolve: func(ref, _ string) (*gwpb.ResolveImageConfigResponse, error) {
		return &gwpb.ResolveImageConfigResponse{Digest: digest.FromString(ref).String(), Config: imageConfig("NAME=" + ref)}, nil
	}})
	f, err := d.dial(t).Collect(t.Context(), query(func(q *Query) { q.Request.Variant = "cuda" }))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(f.Accelerator.Env[0], "-devel-") || !strings.Contains(f.Build.Env[0], "debian") || f.Runtime.Ref != "" {
		t.Errorf("got %+v, %+v and %+v", f.Build, f.Accelerator, f.Runtime)
	}
}

// away is a machine without a way to any registry, answers one whose registries answer.
func away(_ context.Context, ref string) error {
	return &Unreached{Host: ref, Err: errors.New("no such host")}
}

func answers(context.Context, string) error { return nil }

// Where there is no way to NVIDIA's images, up takes Debian's toolkit, and the plan
// comes to the same choice from the same facts. Nothing is replaced for another cause,
// nor by a build, nor where it was asked for by name.
func TestCollectWithoutNVIDIAsImages(t *testing.T) {
	t.Parallel()
	collect := func(t *testing.T, change func(*Query)) (images.Plan, []string, error) {
		t.Helper()
		d := serve(t, &daemon{files: llamaTree(), resolve: func(ref, _ string) (*gwpb.ResolveImageConfigResponse, error) {
			if strings.Contains(ref, "nvidia") {
				return nil, errors.New("the registry's own words")
			}
			return &gwpb.ResolveImageConfigResponse{Digest: sha("b"), Config: imageConfig()}, nil
		}})
		var notices []string
		q := query(func(q *Query) {
			q.Request.Variant, q.Request.CUDAArch = "cuda", []string{"86"}
			q.Notice, q.Reach, q.Replace = func(s string) { notices = append(notices, s) }, away, true
		})
		change(&q)
		f, err := d.dial(t).Collect(t.Context(), q)
		if err != nil {
			return images.Plan{}, notices, err
		}
		p, err := images.MakePlan(q.Request, f.Facts)
		return p, notices, err
	}
	p, notices, err := collect(t, func(*Query) {})
	if err != nil {
		t.Fatal(err)
	}
	if p.Variant != "cuda-debian" || len(p.Pending) > 0 || p.Accelerator.Base.Digest != p.Build.Digest {
		t.Errorf("the plan is for %s, waits for %v, and compiles CUDA on %+v", p.Variant, p.Pending, p.Accelerator.Base)
	}
	if len(notices) == 0 || !strings.Contains(notices[len(notices)-1], "building cuda-debian instead") {
		t.Errorf("the user is told %q", notices)
	}
	for name, c := range map[string]struct {
		change func(*Query)
		do     string
	}{
		"asked for by name":    {func(q *Query) { q.Request.Variant = "cuda12" }, ""},
		"a build":              {func(q *Query) { q.Replace = false }, "--variant cuda-debian"},
		"a registry that says": {func(q *Query) { q.Reach = answers }, "docker login"},
		"a time-out":           {func(q *Query) { q.Reach = func(context.Context, string) error { return context.DeadlineExceeded } }, ""},
	} {
		_, _, err := collect(t, c.change)
		if fault.ClassOf(err) != fault.Machine || !strings.Contains(fault.Report(err), "nvidia/cuda:12.8.1") || !strings.Contains(fault.Report(err), c.do) {
			t.Errorf("%s: %s", name, fault.Report(err))
		}
	}
}

// A look-up that fails is no failed step: what is tried next may succeed.
func TestCollectStaysCalm(t *testing.T) {
	t.Parallel()
	vertex := digest.FromString("resolve").String()
	d := serve(t, &daemon{
		files: llamaTree(),
		progress: []*controlapi.StatusResponse{{Vertexes: []*controlapi.Vertex{
			{Digest: vertex, Name: "resolve debian:trixie-slim", Error: "no such host"},
			{Digest: digest.FromString("source").String(), Name: "[source] llama.cpp", Error: "not our ref"},
		}}},
		resolve: func(string, string) (*gwpb.ResolveImageConfigResponse, error) {
			return &gwpb.ResolveImageConfigResponse{Digest: sha("b"), Config: imageConfig()}, nil
		},
	})
	got := map[string]string{}
	var log string
	_, err := d.dial(t).Collect(t.Context(), query(func(q *Query) {
		q.Status = func(s *client.SolveStatus) {
			for _, v := range s.Vertexes {
				got[v.Name] = v.Error
			}
			for _, l := range s.Logs {
				log += string(l.Data)
			}
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"resolve debian:trixie-slim": "", "[source] llama.cpp": "not our ref"}, got); diff != "" {
		t.Error(diff)
	}
	if log != "no such host\n" {
		t.Errorf("log %q", log)
	}
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		without []apicaps.CapID
		want    llb.Capabilities
	}{
		"new": {nil, llb.Capabilities{GitChecksum: true, GitSkipSubmodules: true, OCILayout: true, Merge: true}},
		"old": {[]apicaps.CapID{pb.CapSourceGitChecksum, pb.CapSourceGitSkipSubmodules, pb.CapSourceOCILayout, pb.CapMergeOp}, llb.Capabilities{}},
	} {
		builder := func() *Builder {
			return serve(t, &daemon{files: llamaTree(), without: c.without, resolve: func(string, string) (*gwpb.ResolveImageConfigResponse, error) {
				return &gwpb.ResolveImageConfigResponse{Digest: sha("b"), Config: imageConfig()}, nil
			}}).dial(t)
		}
		f, err := builder().Collect(t.Context(), query(nil))
		if err != nil {
			t.Fatal(err)
		}
		alone, err := builder().Capabilities(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range []llb.Capabilities{f.Capabilities, alone} {
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
}
