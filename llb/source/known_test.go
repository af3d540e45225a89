package source_test

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/source"
)

// Of a commit that only a builder has fetched, a lock needs the time and the id of its
// files: they are what git says.
func TestKnown(t *testing.T) {
	t.Parallel()
	r := gitrepo.New(t, fstest.MapFS{"CMakeLists.txt": {Data: []byte("project(\"llama.cpp\" C CXX)\n")}})
	first := r.Head()
	r.AnnotatedTag("v0.1.0")
	last := r.Commit("more", map[string]string{"ggml/CMakeLists.txt": "project(ggml)\n"})
	// Neither a branch nor a tag leads to this one.
	r.Branch("gone")
	alone := r.Commit("alone", map[string]string{"LICENSE": "MIT\n"})
	r.Branch(gitrepo.DefaultBranch)
	r.Git("branch", "--quiet", "-D", "gone")
	// So do forges, which leave files out of what they send.
	r.Git("config", "uploadpack.allowFilter", "true")
	url := r.Serve()
	for name, commit := range map[string]string{"the newest": last, "an older one": first, "one of no branch": alone} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := images.SourceFacts{Kind: images.SourceGit, Commit: commit, Tag: "v0.1.0", Tree: llamaTree}
			got, err := source.Resolver{Env: r.Env()}.Known(t.Context(), url, f)
			if err != nil {
				t.Fatal(err)
			}
			when, err := time.Parse(time.RFC3339, r.Git("show", "-s", "--format=%cI", commit))
			if err != nil {
				t.Fatal(err)
			}
			// All else is as it was.
			want := f
			want.Time, want.TreeID = when.UTC(), r.Git("rev-parse", commit+"^{tree}")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is known already is not asked for again.
func TestKnownAlready(t *testing.T) {
	t.Parallel()
	want := images.SourceFacts{Commit: strings.Repeat("1", 40), Time: committed, TreeID: strings.Repeat("2", 40)}
	got, err := source.Resolver{}.Known(t.Context(), "https://127.0.0.1:1/llama.cpp", want)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestKnownRefuses(t *testing.T) {
	t.Parallel()
	r := gitrepo.New(t, fstest.MapFS{"LICENSE": {Data: []byte("MIT\n")}})
	url := r.Serve()
	missing := strings.Repeat("1", 40)
	for name, c := range map[string]struct {
		url   string
		class fault.Class
		says  []string
	}{
		"a commit that is not there":     {url, fault.Usage, []string{"no commit " + missing + " at " + url}},
		"a repository that is not there": {strings.Replace(url, "llama.cpp", "other", 1), fault.Usage, []string{"other"}},
		"a network that is not there":    {"http://127.0.0.1:1/llama.cpp", fault.Machine, []string{"cannot reach the repository http://127.0.0.1:1/llama.cpp"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := source.Resolver{Env: r.Env()}.Known(t.Context(), c.url, images.SourceFacts{Commit: missing})
			if fault.ClassOf(err) != c.class {
				t.Errorf("class %d, want %d: %v", fault.ClassOf(err), c.class, err)
			}
			for _, part := range c.says {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("%v does not say %q", err, part)
				}
			}
		})
	}
}

// A commit leaves nothing behind, whether it was there or not.
func TestKnownCleansUp(t *testing.T) {
	r := gitrepo.New(t, fstest.MapFS{"LICENSE": {Data: []byte("MIT\n")}})
	url, tmp := r.Serve(), t.TempDir()
	t.Setenv("TMPDIR", tmp)
	for _, commit := range []string{r.Head(), strings.Repeat("1", 40)} {
		_, _ = source.Resolver{Env: r.Env()}.Known(t.Context(), url, images.SourceFacts{Commit: commit})
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
