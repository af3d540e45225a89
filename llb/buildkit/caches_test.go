package buildkit

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/objects"
	"github.com/moby/buildkit/client"
)

func TestParseCaches(t *testing.T) {
	t.Parallel()
	c, err := ParseCaches(
		[]string{"registry.example.com/cache:llama", "type=local,src=/cache"},
		[]string{"registry.example.com/cache:llama", "type=local,dest=/cache", "type=registry,ref=me/x,mode=min", "type=inline"},
	)
	if err != nil {
		t.Fatal(err)
	}
	want := Caches{
		Imports: []client.CacheOptionsEntry{
			{Type: "registry", Attrs: map[string]string{"ref": "registry.example.com/cache:llama"}},
			{Type: "local", Attrs: map[string]string{"src": "/cache"}},
		},
		Exports: []client.CacheOptionsEntry{
			{Type: "registry", Attrs: map[string]string{"ref": "registry.example.com/cache:llama", "mode": "max"}},
			{Type: "local", Attrs: map[string]string{"dest": "/cache", "mode": "max"}},
			{Type: "registry", Attrs: map[string]string{"ref": "me/x", "mode": "min"}},
			{Type: "inline", Attrs: map[string]string{"mode": "min"}},
		},
		Objects: objects.Config{
			From: []objects.Ref{{Name: "registry.example.com/cache:llama-objects"}},
			To:   &objects.Ref{Name: "registry.example.com/cache:llama-objects"},
		},
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
	for name, specs := range map[string][2][]string{
		"no type":   {{"ref=x"}, nil},
		"to nobody": {nil, {"dest=/x"}},
		"neither":   {{"type=registry,ref=me/x,objects=perhaps"}, nil},
		"no size":   {nil, {"type=registry,ref=me/x,objects-max=much"}},
		"no room":   {nil, {"type=registry,ref=me/x,objects-max=0"}},
		"a folder":  {{"type=local,src=/cache,objects=true"}, nil},
	} {
		if _, err := ParseCaches(specs[0], specs[1]); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseCachesObjects(t *testing.T) {
	t.Parallel()
	c, err := ParseCaches(
		[]string{"type=registry,ref=me/x", "type=registry,ref=me/y,objects=false", "me/z@sha256:" + strings.Repeat("a", 64), "type=registry,ref=r.io:5000/z:1,registry.insecure=true"},
		[]string{"type=registry,ref=me/x:2,objects-max=2GB"},
	)
	if err != nil {
		t.Fatal(err)
	}
	want := objects.Config{
		From: []objects.Ref{{Name: "me/x:latest-objects"}, {Name: "r.io:5000/z:1-objects", Insecure: true}},
		To:   &objects.Ref{Name: "me/x:2-objects"}, Max: 2_000_000_000,
	}
	if diff := cmp.Diff(want, c.Objects); diff != "" {
		t.Error(diff)
	}
	// BuildKit would refuse, or keep, what it does not know.
	for _, e := range slices.Concat(c.Imports, c.Exports) {
		if _, ok := e.Attrs["objects"]; ok || e.Attrs["objects-max"] != "" {
			t.Errorf("the builder is told %v", e.Attrs)
		}
	}
}
