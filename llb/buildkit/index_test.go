package buildkit

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/opencontainers/go-digest"
)

const amd, arm = "linux/amd64", "linux/arm64"

// Several plans are one result with an image for each platform, and each has the config
// of its own.
func TestBuildIndex(t *testing.T) {
	t.Parallel()
	d := serve(t, &daemon{runs: []string{amd, "linux/386"}})
	b := d.dial(t)
	j := job(t)
	other := query(func(q *Query) { q.Request.Platform, q.Request.Tags = arm, []string{"a", "b"} })
	f := images.Facts{Source: other.Checkout.Facts, Builder: amd, Build: j.Plan.Build}
	f.Source.Tree = &images.Tree{ServerDir: "tools/server"}
	r, err := other.Request.Normalise()
	if err != nil {
		t.Fatal(err)
	}
	p, err := images.MakePlan(r, f)
	if err != nil {
		t.Fatal(err)
	}
	j.Others, j.Output, j.Capabilities.Runs = []images.Plan{p}, Output{Push: true}, b.platforms
	got, err := b.Build(t.Context(), j)
	if err != nil {
		t.Fatal(fault.Report(err))
	}
	if want := []string{arm + ": the server's start was not checked, because the builder cannot run " + arm}; !slices.Equal(got.Notes, want) {
		t.Errorf("notes %q, want %q", got.Notes, want)
	}
	req, ret, _ := d.recorded()
	if got := req.FrontendAttrs["platform"]; got != amd+","+arm {
		t.Errorf("it asks for %q", got)
	}
	refs, ok := ret.Result.Result.(*gwpb.Result_Refs)
	if !ok || len(refs.Refs.Refs) != 2 || refs.Refs.Refs[amd] == nil || refs.Refs.Refs[arm] == nil {
		t.Fatalf("the result is %v", ret.Result.Result)
	}
	list, err := exptypes.ParsePlatforms(ret.Result.Metadata)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{amd, arm} {
		if got := list.Platforms[i]; got.ID != want || platformName(got.Platform) != want {
			t.Errorf("platform %d is %+v", i, got)
		}
		var config struct{ Architecture string }
		if err := json.Unmarshal(ret.Result.Metadata[exptypes.ExporterImageConfigKey+"/"+want], &config); err != nil || "linux/"+config.Architecture != want {
			t.Errorf("the config of %s is for %s (%v)", want, config.Architecture, err)
		}
	}
	if _, ok := ret.Result.Metadata[exptypes.ExporterImageConfigKey]; ok {
		t.Error("there is a config for no platform")
	}
}

func TestPlatforms(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		runs, want []string
		platform   string
	}{
		"one that does not say":     {nil, nil, ""},
		"its own come first":        {[]string{arm, amd, "linux/amd64/v2", "linux/386"}, []string{arm, amd, "linux/386"}, arm},
		"variants are no platform":  {[]string{"linux/amd64/v3", "linux/amd64/v2"}, []string{amd}, amd},
		"an architecture like none": {[]string{"linux/riscv64"}, []string{"linux/riscv64"}, "linux/riscv64"},
	} {
		b := serve(t, &daemon{runs: c.runs}).dial(t)
		if !slices.Equal(b.platforms, c.want) || b.Platform() != c.platform {
			t.Errorf("%s: %q of %q", name, b.platforms, c.runs)
		}
	}
}

// What compiles is of the builder's platform, what the server runs on of the image's. A
// base of this machine is of one platform only.
func TestCollectForAnotherPlatform(t *testing.T) {
	t.Parallel()
	const debian, mine = "docker.io/library/debian:trixie-slim", "docker.io/me/base:1"
	local := &LocalBase{Ref: "llorch.local/debian:trixie", Manifest: digest.Digest(sha("a")), Config: imageConfig()}
	config := func(arch string) []byte {
		return []byte(`{"os": "linux", "architecture": "` + arch + `"}`)
	}
	for name, c := range map[string]struct {
		runs   []string
		config []byte
		change func(*Query)
		asked  []string
		class  fault.Class
		says   string
	}{
		"a builder of the image's platform": {[]string{arm}, imageConfig(), nil, []string{"default " + debian + " " + arm}, 0, ""},
		"a builder of another":              {[]string{amd}, imageConfig(), nil, []string{"default " + debian + " " + amd}, 0, ""},
		"a user's base": {
			[]string{amd},
			imageConfig(), func(q *Query) { q.Request.Base = mine },
			[]string{"default " + mine + " " + amd, "default " + mine + " " + arm},
			0, "",
		},
		"a user's base for one platform": {
			[]string{amd},
			config("amd64"), func(q *Query) { q.Request.Base = mine },
			nil, fault.Machine, "the image is for another platform: got linux/amd64, want linux/arm64",
		},
		"this machine's base": {
			[]string{amd},
			imageConfig(), func(q *Query) { q.Local, q.Request.Base = local, local.Ref },
			nil, fault.Machine, "this machine does not have the image",
		},
		"a GPU's toolchain": {[]string{amd}, imageConfig(), func(q *Query) { q.Request.Variant = "vulkan" }, nil, fault.Usage, "cannot be compiled on linux/amd64"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := serve(t, &daemon{runs: c.runs, files: llamaTree(), resolve: func(string, string) (*gwpb.ResolveImageConfigResponse, error) {
				return &gwpb.ResolveImageConfigResponse{Digest: sha("b"), Config: c.config}, nil
			}})
			f, err := d.dial(t).Collect(t.Context(), query(func(q *Query) {
				q.Request.Platform = arm
				if c.change != nil {
					c.change(q)
				}
			}))
			if c.class != 0 {
				if fault.ClassOf(err) != c.class || !strings.Contains(err.Error(), c.says) {
					t.Errorf("class %d: %v", fault.ClassOf(err), err)
				}
				return
			}
			if err != nil {
				t.Fatal(fault.Report(err))
			}
			_, _, asked := d.recorded()
			if diff := cmp.Diff(c.asked, asked); diff != "" {
				t.Error(diff)
			}
			if f.Builder != c.runs[0] || !slices.Equal(f.Capabilities.Runs, c.runs) {
				t.Errorf("the builder is %s and runs %q", f.Builder, f.Capabilities.Runs)
			}
		})
	}
}
