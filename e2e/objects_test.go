package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb/buildkit"
	"github.com/llorch/llorch-bk/llb/objects"
)

// travelled is a build's metadata about the compiler cache.
type travelled struct {
	buildkit.Objects
	objects.Report
	// compiled are the parts that ran.
	compiled []string
}

func carriedBy(t *testing.T, metadata string) travelled {
	t.Helper()
	data, err := os.ReadFile(metadata)
	if err != nil {
		t.Fatal(err)
	}
	var built struct {
		Steps   []buildkit.Step
		Objects objects.Report
	}
	if err := json.Unmarshal(data, &built); err != nil {
		t.Fatal(err)
	}
	c := travelled{Report: built.Objects}
	for _, s := range built.Steps {
		if part, ok := s.Compiles(); ok && !s.Cached {
			c.compiled = append(c.compiled, part)
		}
		if s.Objects != nil {
			c.Compiles += s.Objects.Compiles
			c.Cached += s.Objects.Cached
			c.Carried += s.Objects.Carried
		}
	}
	slices.Sort(c.compiled)
	return c
}

// added is a file of the tiny engine with one more function. A comment would not do, because
// the preprocessor removes it.
func added(t *testing.T, file, function string) map[string]string {
	t.Helper()
	return map[string]string{file: edited(t, file, "") + "int " + function + "(void);\nint " + function + "(void) { return 1; }\n"}
}

// TestFixtureObjects checks that a part recompiles only the files that a commit touched, also on
// an empty builder, and that the steps' keys do not depend on the transferred objects.
func TestFixtureObjects(t *testing.T) {
	p := fixture(t)
	reg := newRefusing(t)
	cache := reg.host + "/cache:tiny"
	repo := gitrepo.New(t, tinyengine.Tree())
	const tag = "llorch-e2e:objects"
	t.Cleanup(func() { removeImages(t, p.api, tag) })
	metadata := filepath.Join(p.dir, "metadata.json")
	dir := shortDir(t)
	build := func(flags ...string) (travelled, result) {
		t.Helper()
		d := standaloneIn(t, dir)
		r := p.must(slices.Concat([]string{"build", "--builder", d.Addr, "--source", repo.Dir, "--ref", "HEAD", "--no-ui", "--tag", tag, "--metadata-file", metadata}, flags)...)
		d.Remove()
		return carriedBy(t, metadata), r
	}

	c, r := build("--cache-to", cache)
	if c.Compiles == 0 || c.Carried != 0 || c.From != "" || c.To != cache+"-objects" || c.Pushed == 0 {
		t.Errorf("the first build: %+v\n%s", c, r)
	}

	repo.Commit("change common", added(t, "common/log.c", "e2e_one"))
	c, r = build("--cache-from", cache, "--cache-to", cache)
	// The file, and those that name the commit; the rest was there, or the same file was
	// compiled a moment before.
	if !slices.Equal(c.compiled, []string{"common", "llama-server"}) || c.Carried == 0 || c.Compiles-c.Cached > 4 || c.From != cache+"-objects" {
		t.Errorf("a file of common changed: %+v\n%s", c, r)
	}
	if !strings.Contains(r.stdout, "from the compiler cache") || !strings.Contains(r.stdout, cache+"-objects") {
		t.Errorf("the build does not say where the objects came from:\n%s", r)
	}

	// What had objects and what had none are one step.
	c, r = build("--cache-from", "type=registry,ref="+cache+",objects=false")
	if len(c.compiled) != 0 {
		t.Errorf("without objects other steps ran: %+v\n%s", c, r)
	}
	// With them, nothing is read if nothing compiles.
	if c, r = build("--cache-from", cache); len(c.compiled) != 0 || c.Pulled != 0 {
		t.Errorf("nothing changed: %+v\n%s", c, r)
	}
	// A registry without objects, and one that refuses them, fail nothing.
	ref, err := name.NewTag(cache+"-objects", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Delete(ref); err != nil {
		t.Fatal(err)
	}
	repo.Commit("change common again", added(t, "common/log.c", "e2e_two"))
	reg.refuse("-objects")
	c, r = build("--cache-from", cache, "--cache-to", cache)
	if !slices.Contains(c.compiled, "common") || c.Carried != 0 || c.To != "" || !strings.Contains(r.stderr, cache+"-objects: cannot write it") {
		t.Errorf("the registry refuses objects: %+v\n%s", c, r)
	}

	// A lock takes nothing from an earlier build, and leaves nothing to a later one.
	d := standaloneIn(t, dir)
	reg.refuse("")
	lock := filepath.Join(p.dir, images.LockFile)
	p.must("lock", "--builder", d.Addr, "--source", repo.Dir, "--ref", "HEAD", "--cpu", "x86-64-v3", "--no-ui")
	p.must("build", "--builder", d.Addr, "--locked="+lock, "--tag", tag, "--metadata-file", metadata, "--cache-to", cache+"-locked")
	if c = carriedBy(t, metadata); c.Cached != 0 || c.To != "" {
		t.Errorf("a locked build: %+v", c)
	}
	if ref, err = name.NewTag(cache+"-locked-objects", name.Insecure); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Head(ref); err == nil {
		t.Error("a locked build has left objects")
	}
}
