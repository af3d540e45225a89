package source_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/source"
)

// A commit that was packed is the same commit on a machine that has nothing else of its
// repository, whatever the source was.
func TestPacked(t *testing.T) {
	t.Parallel()
	repo := gitrepo.New(t, tinyengine.Tree())
	repo.Commit("a second one", map[string]string{"common/new.cpp": "int x;\n"})
	want := repo.Head()
	repo.Commit("a third one", map[string]string{"common/newer.cpp": "int y;\n"})
	url := repo.Serve()
	bundled := filepath.Join(t.TempDir(), "all.bundle")
	repo.Git("bundle", "create", bundled, "HEAD")
	for name, location := range map[string]string{"a remote": url, "a folder": repo.Dir, "a git bundle": bundled} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "packed")
			r := source.Resolver{Dir: t.TempDir()}
			if err := r.Pack(t.Context(), location, want, file); err != nil {
				t.Fatal(err)
			}
			again := filepath.Join(t.TempDir(), "packed")
			if err := r.Pack(t.Context(), location, want, again); err != nil {
				t.Fatal(err)
			}
			one, _ := os.ReadFile(file)
			two, _ := os.ReadFile(again)
			if !cmp.Equal(one, two) {
				t.Error("one commit was packed into two files")
			}
			got, err := r.Packed(t.Context(), file, location, want)
			if err != nil {
				t.Fatal(err)
			}
			kind := images.SourceCommit
			if name == "a remote" {
				kind = images.SourceGit
			}
			if got.Facts.Commit != want || got.Location != location || got.Facts.Kind != kind || got.Content == nil {
				t.Errorf("%+v", got)
			}
			direct, err := source.Resolver{Dir: t.TempDir()}.Resolve(t.Context(), repo.Dir, want)
			if err != nil {
				t.Fatal(err)
			}
			if got.Content.Digest() != direct.Content.Digest() || got.Facts.TreeID != direct.Facts.TreeID || !got.Facts.Time.Equal(direct.Facts.Time) {
				t.Errorf("%+v, want %+v", got.Facts, direct.Facts)
			}
			// And once more, out of the cache.
			cached, err := r.Packed(t.Context(), filepath.Join(t.TempDir(), "gone"), location, want)
			if err != nil || cached.Facts.Kind != kind || cached.Location != location {
				t.Errorf("%+v, %v", cached, err)
			}
		})
	}
}

func TestPackRefuses(t *testing.T) {
	t.Parallel()
	repo := gitrepo.New(t, fstest.MapFS{"x": {Data: []byte("x")}})
	r := source.Resolver{Dir: t.TempDir()}
	none := "0123456789012345678901234567890123456789"
	for _, location := range []string{repo.Dir, repo.Serve()} {
		if err := r.Pack(t.Context(), location, none, filepath.Join(t.TempDir(), "packed")); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%s: %v", location, err)
		}
	}
	file := filepath.Join(t.TempDir(), "packed")
	if err := os.WriteFile(file, []byte("# v2 git bundle\nnonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Packed(t.Context(), file, repo.Dir, none); fault.ClassOf(err) != fault.Usage {
		t.Error(err)
	}
}
