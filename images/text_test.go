package images_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
)

var update = flag.Bool("update", false, "write testdata instead of comparing with it")

func TestPlanText(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		r func(*images.Request)
		f func(*images.Facts)
	}{
		"cpu":     {nil, nil},
		"cross":   {func(r *images.Request) { r.Platform = "linux/arm64" }, func(f *images.Facts) { f.Builder = "linux/amd64" }},
		"pending": {func(r *images.Request) { r.CPU = images.CPUNative }, func(f *images.Facts) { *f = images.Facts{} }},
		"cuda": {func(r *images.Request) {
			cuda(r)
			r.CUDAArch, r.Tags = []string{"86", "89"}, []string{"me/a", "me/b:1"}
		}, cudaFacts},
		"dirty": {func(r *images.Request) {
			r.Source, r.Ref, r.CPU, r.Base = "/home/me/llama.cpp", "", "x86-64-v3", "llorch.local/debian:trixie"
		}, func(f *images.Facts) {
			f.Source.Kind, f.Source.Dirty, f.Source.Tag = images.SourceDir, true, ""
			f.Build = images.BaseFacts{Ref: "llorch.local/debian:trixie", ID: sha("1")}
			f.Runtime = f.Build
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if err := plan(t, c.r, c.f).WriteText(&out); err != nil {
				t.Fatal(err)
			}
			golden(t, "plan-"+name+".txt", out.Bytes())
		})
	}
}

func TestPlanDot(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(*images.Facts){
		"parts":   nil,
		"pending": func(f *images.Facts) { *f = images.Facts{} },
	} {
		var out bytes.Buffer
		if err := plan(t, nil, f).WriteDot(&out); err != nil {
			t.Fatal(err)
		}
		golden(t, "plan-"+name+".dot", out.Bytes())
	}
}

// A base may be named by digest; it is written once.
func TestPlanTextBaseByDigest(t *testing.T) {
	t.Parallel()
	ref := "docker.io/library/debian:trixie@" + sha("b")
	p := plan(t, func(r *images.Request) { r.Base = ref }, func(f *images.Facts) { f.Build.Ref, f.Runtime.Ref = ref, ref })
	var out bytes.Buffer
	if err := p.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), sha("b")); n != 2 || !strings.Contains(out.String(), " debian:trixie@"+sha("b")+"\n") {
		t.Errorf("the digest is written %d times in:\n%s", n, out.String())
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
