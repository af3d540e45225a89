package llb_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb"
	bkllb "github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

var update = flag.Bool("update", false, "write testdata instead of comparing with it")

const commit = "de3ff81aaaabbbbccccddddeeeeffff000011112"

func sha(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

// modern is a builder that can do everything that a graph may ask for.
var modern = llb.Capabilities{GitChecksum: true, GitSkipSubmodules: true, OCILayout: true, Merge: true}

// subject is what a test builds: a request and facts as they come from a user
// and a builder. A test changes what it is about.
type subject struct {
	images.Request
	Facts images.Facts
	caps  llb.Capabilities
	opt   llb.Options
}

type change func(*subject)

func cuda(s *subject) {
	s.Variant, s.CUDAArch = "cuda", []string{"86", "89"}
	s.Facts.Accelerator = images.BaseFacts{Ref: nvidia128, Digest: sha("d"), Env: []string{"PATH=/usr/local/cuda/bin:/usr/bin:/bin", "CUDA_VERSION=12.8.1"}}
}

const nvidia128 = "docker.io/nvidia/cuda:12.8.1-devel-ubuntu24.04@sha256:520292dbb4f755fd360766059e62956e9379485d9e073bbd2f6e3c20c270ed66"

// cudaDebian is CUDA on a machine that has no NVIDIA image.
func cudaDebian(s *subject) {
	s.Variant, s.CUDAArch = "cuda-debian", []string{"86"}
	s.CMakeFlags = []string{"-DGGML_CUDA_FA=OFF"}
}

// runtimeBase is a base of the user's to run on.
func runtimeBase(s *subject) {
	s.RuntimeBase = "docker.io/library/debian:trixie-slim"
	s.Facts.Runtime = s.Facts.Build
}

func vulkan(s *subject) { s.Variant = "vulkan" }

func local(s *subject) {
	s.Source, s.Ref, s.Facts.Source.Kind = "/home/me/llama.cpp", "", images.SourceDir
}

func layout(s *subject) {
	local(s)
	s.Facts.Build = images.BaseFacts{Ref: "llorch.local/debian:trixie", Digest: sha("a"), Layout: true}
}

// treeLayout is a tree of 2025, or one that nobody knows how to take apart.
func treeLayout(l images.Layout) change {
	return func(s *subject) {
		tree := *s.Facts.Source.Tree
		tree.Layout = l
		s.Facts.Source.Tree = &tree
	}
}

// engineBase is a base that exists only in the store of an engine.
func engineBase(s *subject) {
	local(s)
	s.Base = "llorch.local/debian:trixie"
	s.Facts.Build = images.BaseFacts{Ref: s.Base, ID: sha("1")}
	s.Facts.Runtime = s.Facts.Build
}

// deb is a package of a lock; digit tells it from others.
func deb(name, version, digit string) images.Package {
	return images.Package{
		Name: name, Version: version, Architecture: "amd64", SHA256: strings.Repeat(digit, 64), Size: 100,
		Path: "pool/main/" + name[:1] + "/" + name + "/" + name + "_" + version + "_amd64.deb",
	}
}

// locked is a build of a lock: after whatever says what is built.
func locked(s *subject) {
	s.Facts.Source.TreeID = strings.Repeat("1", 40)
	s.Facts.Snapshots = []string{"https://snapshot.debian.org/archive/debian/20261001T100000Z"}
	s.Facts.Packages = &images.PackageSets{
		Toolchain: []images.Package{deb("clang", "1:19.0-63", "1"), deb("cmake", "3.31.6-2", "2"), deb("g++", "4:14.2.0-1", "3")},
		UI:        []images.Package{deb("nodejs", "20.19.2+dfsg-1", "4"), deb("npm", "9.2.0~ds1-3", "5")},
		Runtime:   []images.Package{deb("base-files", "13.8", "6"), deb("libc6", "2.41-12", "7")},
	}
	if s.Facts.Accelerator.Ref != "" {
		s.Facts.Packages.Accelerator = []images.Package{deb("cmake", "3.28.3-1build7", "8"), deb("ninja-build", "1.11.1-2", "9")}
	}
}

func (s subject) with(changes ...change) subject {
	for _, c := range changes {
		c(&s)
	}
	return s
}

func cpu() subject {
	base := images.BaseFacts{Ref: "docker.io/library/debian:trixie-slim", Digest: sha("b"), Env: []string{"PATH=/usr/bin:/bin"}}
	return subject{
		Request: images.Request{
			Source: images.DefaultRepository, Ref: images.DefaultRef, Variant: "cpu", Platform: "linux/amd64", CPU: images.CPUPortable,
		},
		Facts: images.Facts{
			Source: images.SourceFacts{
				Kind: images.SourceGit, Commit: commit, Tag: "v0.5.0", Time: time.Date(2026, 10, 1, 10, 0, 0, 0, time.UTC),
				Tree: &images.Tree{Version: "0.5.0", ServerDir: "tools/server", Licences: []string{"LICENSE"}, Layout: images.LayoutParts, UI: true},
			},
			Build: base,
		},
		caps: modern,
	}
}

func (s subject) plan(t *testing.T) images.Plan {
	t.Helper()
	r, err := s.Normalise()
	if err != nil {
		t.Fatal(err)
	}
	p, err := images.MakePlan(r, s.Facts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (s subject) graph(t *testing.T) llb.Graph {
	t.Helper()
	g, err := llb.Build(s.plan(t), s.caps, s.opt)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// op is one vertex of a definition, with symbolic ids in place of digests.
type op struct {
	ID       string
	Op       *pb.Op
	Metadata bkllb.OpMetadata
	Script   digest.Digest `json:",omitempty"`

	digest digest.Digest
}

// name is what the progress display shows, without what may differ for one step.
func (o op) name() string {
	words := strings.Fields(o.Metadata.Description["llb.customname"])
	if len(words) > 1 && words[0] == "[compile]" {
		return words[0] + " " + words[1]
	}
	if len(words) == 0 {
		return ""
	}
	return words[0]
}

// ops are the vertices of a definition in its own order.
func ops(t *testing.T, def *bkllb.Definition) []op {
	t.Helper()
	ids := map[string]string{}
	var out []op
	for i, dt := range def.Def {
		o := op{ID: fmt.Sprintf("op%d", i), Op: &pb.Op{}, digest: digest.FromBytes(dt)}
		if err := o.Op.UnmarshalVT(dt); err != nil {
			t.Fatal(err)
		}
		ids[o.digest.String()] = o.ID
		for _, in := range o.Op.Inputs {
			if ids[in.Digest] == "" {
				t.Fatalf("%s comes before its input %s", o.ID, in.Digest)
			}
			in.Digest = ids[in.Digest]
		}
		o.Metadata = def.Metadata[o.digest]
		out = append(out, o)
	}
	return out
}

func (s subject) ops(t *testing.T) []op {
	t.Helper()
	def, err := s.graph(t).Image.Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return ops(t, def)
}

// fetch begins the names of the steps that fetch what is locked.
const fetch = "[fetch]"

// execs are the steps that run something, by name.
func (s subject) execs(t *testing.T) map[string]op {
	t.Helper()
	out := map[string]op{}
	fetches := 0
	for _, o := range s.ops(t) {
		if o.Op.GetExec() == nil {
			continue
		}
		name := o.name()
		if name == fetch {
			fetches++
			name = fmt.Sprint(fetch, " ", fetches)
		}
		out[name] = o
	}
	want := []string{"[probe]", "[source]"}
	if p := s.Facts.Packages; p != nil && len(s.opt.Sent) == 0 {
		// One for each set.
		n := 0
		for _, set := range [][]images.Package{p.Toolchain, p.Accelerator, p.UI, p.Runtime} {
			if len(set) > 0 {
				n++
				want = append(want, fmt.Sprint(fetch, " ", n))
			}
		}
	}
	if slices.ContainsFunc(s.plan(t).Parts, func(p images.Part) bool { return !p.Accelerated }) {
		want = append(want, "[toolchain]")
	}
	if s.plan(t).UI != nil {
		want = append(want, "[npm]", "[ui]")
	}
	if a := s.plan(t).Accelerator; a != nil {
		want = append(want, "[gpu-toolchain]")
		if len(a.Libraries) > 0 {
			want = append(want, "[libraries]")
		}
	}
	if r := s.plan(t).Runtime; r.Made() {
		want = append(want, "[runtime]")
	} else if len(r.Packages) > 0 {
		want = append(want, "[packages]")
	}
	for _, part := range s.plan(t).Parts {
		want = append(want, "[compile] "+part.Name)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(out))); diff != "" {
		t.Fatalf("what the graph runs (-want +got):\n%s", diff)
	}
	return out
}

// subjects are every kind of graph that there is.
var subjects = map[string]subject{
	"cpu-portable-amd64":     cpu(),
	"cpu-x86-64-v3":          cpu().with(func(s *subject) { s.CPU = "x86-64-v3" }),
	"layout-ggml":            cpu().with(treeLayout(images.LayoutGGML)),
	"layout-whole":           cpu().with(treeLayout(images.LayoutWhole)),
	"cpu-portable-arm64":     cpu().with(func(s *subject) { s.Platform = "linux/arm64" }),
	"cuda":                   cpu().with(cuda),
	"cuda-debian":            cpu().with(cudaDebian),
	"cuda-whole":             cpu().with(cuda, treeLayout(images.LayoutWhole)),
	"vulkan":                 cpu().with(vulkan),
	"runtime-base":           cpu().with(runtimeBase),
	"vulkan-runtime-base":    cpu().with(vulkan, runtimeBase),
	"source-git-old-builder": cpu().with(func(s *subject) { s.caps = llb.Capabilities{} }),
	"source-local":           cpu().with(local),
	"base-layout":            cpu().with(layout),
	"base-engine":            cpu().with(engineBase, func(s *subject) { s.caps = llb.Capabilities{} }),
	"cross-arm64":            cpu().with(cross),
	"cross-runtime-base":     cpu().with(cross, runtimeBase),
	"cross-locked":           cpu().with(cross, locked),
	"locked":                 cpu().with(locked),
	"locked-cuda":            cpu().with(cuda, locked),
}

func TestGraphs(t *testing.T) {
	t.Parallel()
	for name, s := range subjects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			enc := json.NewEncoder(&out)
			enc.SetIndent("", "  ")
			enc.SetEscapeHTML(false)
			for _, o := range s.ops(t) {
				// Of a script, the golden file says which, not all of it again.
				for _, a := range o.Op.GetFile().GetActions() {
					if f := a.GetMkfile(); f != nil {
						o.Script, f.Data = digest.FromBytes(f.Data), nil
					}
				}
				// What LLB features it uses follows from the rest.
				o.Metadata.Caps = nil
				if err := enc.Encode(o); err != nil {
					t.Fatal(err)
				}
			}
			golden(t, "graph-"+name+".json", out.Bytes())
		})
	}
}

func TestGraphIsDeterministic(t *testing.T) {
	t.Parallel()
	for name, s := range subjects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var first *bkllb.Definition
			var config []byte
			for range 25 {
				g := s.graph(t)
				def, err := g.Image.Marshal(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if first == nil {
					first, config = def, g.Config
				}
				// cmp.Diff of equal bytes takes a hundred times as long as the graph.
				if !slices.EqualFunc(first.Def, def.Def, bytes.Equal) {
					t.Fatal(cmp.Diff(first.Def, def.Def))
				}
				if llb.Digest(first) != llb.Digest(def) {
					t.Fatal("equal definitions have different digests")
				}
				if !bytes.Equal(config, g.Config) {
					t.Fatal(cmp.Diff(string(config), string(g.Config)))
				}
			}
		})
	}
}

// hasNetwork says which steps may leave the builder: those that fetch packages. With a
// lock these are steps of their own; npm's packages are pinned by the tree.
func (s subject) hasNetwork(step string) bool {
	if s.Facts.Packages != nil {
		return strings.HasPrefix(step, fetch) || step == "[ui]"
	}
	return slices.Contains([]string{"[toolchain]", "[gpu-toolchain]", "[packages]", "[runtime]", "[npm]", "[ui]"}, step)
}

func TestOnlyTheToolchainHasANetwork(t *testing.T) {
	t.Parallel()
	for name, s := range subjects {
		for step, o := range s.execs(t) {
			want := pb.NetMode_NONE
			if s.hasNetwork(step) {
				want = pb.NetMode_UNSET
			}
			if got := o.Op.GetExec().Network; got != want {
				t.Errorf("%s: %s has network %s, want %s", name, step, got, want)
			}
			if o.Op.GetExec().Security != pb.SecurityMode_SANDBOX {
				t.Errorf("%s: %s is not sandboxed", name, step)
			}
		}
	}
}

func TestBuildRefusesAPendingPlan(t *testing.T) {
	t.Parallel()
	s := cpu()
	s.Facts.Source.Tree = nil
	if _, err := llb.Build(s.plan(t), modern, llb.Options{}); err == nil || !strings.Contains(err.Error(), "source.tree") {
		t.Errorf("got %v", err)
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: go test -update writes it", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
