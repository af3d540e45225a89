package images_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
)

func TestPlanLabels(t *testing.T) {
	t.Parallel()
	p := plan(t, nil, nil)
	want := map[string]string{
		"org.opencontainers.image.title":       "llama.cpp server",
		"org.opencontainers.image.description": "llama-server, CPU only, on Debian",
		"org.opencontainers.image.licenses":    "MIT",
		"org.opencontainers.image.revision":    commit,
		"org.opencontainers.image.version":     "0.5.0",
		"org.opencontainers.image.created":     "2026-10-01T10:00:00Z",
		"org.opencontainers.image.source":      images.DefaultRepository,
		"dev.llorch.recipe":                    p.Recipe,
		"dev.llorch.fit":                       p.Fit,
		"dev.llorch.commit":                    commit,
		"dev.llorch.ref":                       "v0.5.0",
		"dev.llorch.variant":                   "cpu",
		"dev.llorch.cpu":                       "portable",
		"dev.llorch.probe":                     "/app/llorch-probe",
		"dev.llorch.ui":                        "built",
		"dev.llorch.layout":                    "parts",
		"dev.llorch.backends":                  "cpu",
		"dev.llorch.programs":                  "llama-server",
	}
	if diff := cmp.Diff(want, p.Image.Labels); diff != "" {
		t.Error(diff)
	}

	p = plan(t, func(r *images.Request) { r.Source, r.Ref = "/home/me/llama.cpp", "" }, func(f *images.Facts) {
		f.Source.Kind, f.Source.Dirty, f.Source.Time = images.SourceDir, true, time.Time{}
	})
	for name, want := range map[string]string{"dev.llorch.commit": commit + "-dirty", "org.opencontainers.image.revision": commit + "-dirty"} {
		if p.Image.Labels[name] != want {
			t.Errorf("%s is %q, want %q", name, p.Image.Labels[name], want)
		}
	}
	for _, name := range []string{"org.opencontainers.image.source", "org.opencontainers.image.created", "dev.llorch.ref", "dev.llorch.fit"} {
		if v, ok := p.Image.Labels[name]; ok {
			t.Errorf("a dirty local tree says %s=%q", name, v)
		}
	}
	if p := plan(t, cuda, cudaFacts); p.Image.Labels["dev.llorch.cuda"] != "12.8" {
		t.Errorf("cuda labels %v", p.Image.Labels)
	}
}

func TestDigests(t *testing.T) {
	t.Parallel()
	base := plan(t, nil, nil)
	if base.Recipe == "" || base.Fit == "" {
		t.Fatalf("no digests: %+v", base)
	}
	for name, c := range map[string]struct {
		r                   func(*images.Request)
		f                   func(*images.Facts)
		sameRecipe, sameFit bool
	}{
		"nothing":              {nil, nil, true, true},
		"tags":                 {func(r *images.Request) { r.Tags = []string{"me"} }, nil, true, true},
		"the name of the ref":  {func(r *images.Request) { r.Ref = "master" }, nil, true, true},
		"a release or not":     {nil, func(f *images.Facts) { f.Source.Tag = "" }, false, true},
		"where the source is":  {func(r *images.Request) { r.Source = "https://example.com/mirror" }, nil, true, true},
		"a build tag":          {nil, func(f *images.Facts) { f.Source.Tag = "b5000" }, false, true},
		"a CMake flag":         {func(r *images.Request) { r.CMakeFlags = []string{"-DGGML_LTO=ON"} }, nil, false, false},
		"the commit":           {nil, func(f *images.Facts) { f.Source.Commit = strings.Repeat("1", 40) }, false, false},
		"the platform":         {func(r *images.Request) { r.Platform = "linux/arm64" }, nil, false, false},
		"the variant":          {cuda, cudaFacts, false, false},
		"a CPU level":          {func(r *images.Request) { r.CPU = "x86-64-v3" }, nil, false, true},
		"native":               {func(r *images.Request) { r.CPU = "native" }, func(f *images.Facts) { f.CPULevel = "x86-64-v3" }, false, true},
		"the build base":       {nil, func(f *images.Facts) { f.Build.Digest = sha("c") }, false, true},
		"a base to run on":     {runtimeBase, func(f *images.Facts) { f.Runtime = f.Build }, false, false},
		"an engine's own base": {nil, func(f *images.Facts) { f.Build.Digest, f.Build.ID = "", sha("c") }, false, true},
		"another base":         {func(r *images.Request) { r.Base = "me/x" }, func(f *images.Facts) { f.Runtime = f.Build }, false, false},
		"the tree's layout":    {nil, func(f *images.Facts) { f.Source.Tree = &images.Tree{ServerDir: "examples/server"} }, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := plan(t, c.r, c.f)
			if (p.Recipe == base.Recipe) != c.sameRecipe {
				t.Errorf("same recipe: %v, want %v", p.Recipe == base.Recipe, c.sameRecipe)
			}
			if (p.Fit == base.Fit) != c.sameFit {
				t.Errorf("same fit: %v, want %v", p.Fit == base.Fit, c.sameFit)
			}
		})
	}

	a := plan(t, func(r *images.Request) { cuda(r); r.CUDAArch = []string{"86"} }, cudaFacts)
	b := plan(t, func(r *images.Request) { cuda(r); r.CUDAArch = []string{"89"} }, cudaFacts)
	if a.Recipe == b.Recipe || a.Fit == b.Fit {
		t.Error("a CUDA architecture changes nothing")
	}
	if p := plan(t, nil, func(f *images.Facts) { f.Source.Dirty = true }); p.Fit != "" || p.Recipe != "" {
		t.Error("another image fits a dirty tree")
	}
}

// Not parallel with the others: it changes the catalogue.
func TestDigestsPackage(t *testing.T) {
	before := plan(t, nil, nil)
	saved := images.Catalogue
	t.Cleanup(func() { images.Catalogue = saved })
	images.Catalogue = slices.Clone(saved)
	images.Catalogue[0].Packages = append(slices.Clone(saved[0].Packages), "one-more")
	if after := plan(t, nil, nil); after.Recipe == before.Recipe || after.Fit != before.Fit {
		t.Error("a package is part of the recipe, not of the fit")
	}
	// A program that compiles otherwise must not take an older one's image for its own.
	images.Catalogue[0].Accelerator = &images.Accelerator{Backend: images.Backend{Name: "ggml-blas", Flag: "GGML_BLAS"}}
	if after := plan(t, nil, nil); after.Fit == before.Fit {
		t.Error("what the program itself decides is no part of the fit")
	}
}

func TestPlanIsDeterministic(t *testing.T) {
	t.Parallel()
	var first []byte
	for range 25 {
		p := plan(t, func(r *images.Request) {
			cuda(r)
			r.CMakeFlags, r.Tags = []string{"-DC=1", "-DA=1", "-DB=1"}, []string{"b", "a", "c"}
		}, cudaFacts)
		got, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = got
		}
		if !bytes.Equal(first, got) {
			t.Fatal(cmp.Diff(string(first), string(got)))
		}
	}
}
