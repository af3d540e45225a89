package buildkit

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images/fault"
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
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
	for name, specs := range map[string][2][]string{
		"no type":   {{"ref=x"}, nil},
		"to nobody": {nil, {"dest=/x"}},
	} {
		if _, err := ParseCaches(specs[0], specs[1]); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%s: %v", name, err)
		}
	}
}
