package source_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/source"
)

// environment is a git that no configuration of the machine reaches, and whose
// commits have the same ids everywhere.
func environment(home string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + os.TempDir(),
		"GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_AUTHOR_DATE=2026-01-02T03:04:05Z",
		"GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.com", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z",
	}
}

// repo is a git repository with the outline of llama.cpp in it:
//
//	old   lightweight tag old, the first commit
//	main  annotated tag v0.5.0 and branch main, the second commit
//	side  branch side, one commit beside main
//	both  a tag at old and a branch at side
type repo struct {
	t               *testing.T
	dir             string
	env             []string
	old, main, side string
}

func newRepo(t *testing.T) *repo {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	r := &repo{t: t, dir: t.TempDir(), env: environment(t.TempDir())}
	r.git("init", "-q", "-b", "main")
	for name, text := range map[string]string{
		"CMakeLists.txt":              "project(\"llama.cpp\" C CXX)\nset(LLAMA_VERSION_MAJOR 0)\nset(LLAMA_VERSION_MINOR 5)\nset(LLAMA_VERSION_PATCH 0)\n",
		"ggml/CMakeLists.txt":         "project(ggml)\n",
		"tools/server/CMakeLists.txt": "\n",
		"LICENSE":                     "MIT\n",
		".gitignore":                  "/build\n",
	} {
		r.write(name, text)
	}
	r.old = r.commit("first")
	r.git("tag", "old")
	r.git("tag", "both")
	r.write("second", "2\n")
	r.main = r.commit("second")
	r.git("tag", "-a", "-m", "release", "v0.5.0")
	r.git("checkout", "-q", "-b", "side", r.old)
	r.write("side", "3\n")
	r.side = r.commit("side")
	r.git("branch", "both")
	r.git("checkout", "-q", "main")
	return r
}

func (r *repo) git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env = r.dir, r.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r *repo) write(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *repo) commit(message string) string {
	r.t.Helper()
	r.git("add", "-A")
	r.git("commit", "-q", "-m", message)
	return r.git("rev-parse", "HEAD")
}

func (r *repo) bundle(refs ...string) string {
	r.t.Helper()
	file := filepath.Join(r.t.TempDir(), "llama.bundle")
	r.git(append([]string{"bundle", "create", "-q", file}, refs...)...)
	return file
}

// serve offers the repository over HTTP as any static file server would.
func (r *repo) serve() string {
	r.t.Helper()
	r.git("update-server-info")
	s := httptest.NewServer(http.FileServer(http.Dir(r.dir)))
	r.t.Cleanup(s.Close)
	return s.URL + "/.git"
}

// resolver has a cache folder of its own.
func (r *repo) resolver() source.Resolver {
	return source.Resolver{Dir: filepath.Join(r.t.TempDir(), "cache"), Env: r.env}
}

func resolve(t *testing.T, r source.Resolver, location, ref string) source.Checkout {
	t.Helper()
	c, err := r.Resolve(t.Context(), location, ref)
	if err != nil {
		t.Fatal(fault.Report(err))
	}
	return c
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var (
	committed = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	llamaTree = &images.Tree{Version: "0.5.0", ServerDir: "tools/server", Licences: []string{"LICENSE"}, Layout: images.LayoutWhole, LayoutWhy: "it has no ggml/src/CMakeLists.txt"}
	oldFiles  = []string{".gitignore", "CMakeLists.txt", "LICENSE", "ggml/CMakeLists.txt", "tools/server/CMakeLists.txt"}
)

func TestWorkingTree(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*repo)
		dirty  bool
		// sent is a file that is sent beside what was committed.
		sent string
	}{
		"clean":           {func(*repo) {}, false, ""},
		"an ignored file": {func(r *repo) { r.write("build/x", "") }, false, ""},
		"other times":     {func(r *repo) { touch(t, r, "LICENSE") }, false, ""},
		"an empty folder": {func(r *repo) {
			_ = os.MkdirAll(filepath.Join(r.dir, "build/empty"), 0o755)
			_ = os.MkdirAll(filepath.Join(r.dir, "void/void"), 0o755)
		}, false, ""},
		"a changed file": {func(r *repo) { r.write("LICENSE", "other") }, true, ""},
		"a new file":     {func(r *repo) { r.write("new", "") }, true, "new"},
		"a staged file":  {func(r *repo) { r.write("new", ""); r.git("add", "new") }, true, "new"},
		"a removed file": {func(r *repo) { os.Remove(filepath.Join(r.dir, "second")) }, true, ""},
		"a program":      {func(r *repo) { _ = os.Chmod(filepath.Join(r.dir, "LICENSE"), 0o755) }, true, ""},
		"a link":         {func(r *repo) { _ = os.Symlink("LICENSE", filepath.Join(r.dir, "new")) }, true, "new"},
		// What git status is told to pass over, it does not tell.
		"assume-unchanged": {func(r *repo) {
			r.git("update-index", "--assume-unchanged", "LICENSE")
			r.write("LICENSE", "other")
		}, true, ""},
		"skip-worktree": {func(r *repo) {
			r.git("update-index", "--skip-worktree", "LICENSE")
			r.write("LICENSE", "other")
		}, true, ""},
		"new files not shown": {func(r *repo) {
			r.git("config", "status.showUntrackedFiles", "no")
			r.write("new", "")
		}, true, "new"},
		"equal size and time": {func(r *repo) {
			touch(t, r, "LICENSE")
			r.git("update-index", "--refresh")
			r.write("LICENSE", "mit\n")
			touch(t, r, "LICENSE")
		}, true, ""},
		"a replaced commit": {func(r *repo) {
			r.git("replace", r.main, r.old)
		}, false, ""},
		"a folder of its own repository": {func(r *repo) {
			r.write("inner/file", "")
			r.git("init", "-q", filepath.Join(r.dir, "inner"))
		}, true, "inner/file"},
		"line ends as .gitattributes has them": {func(r *repo) {
			r.write(".git/info/attributes", "LICENSE text eol=crlf\n")
			r.write("LICENSE", "MIT\r\n")
		}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRepo(t)
			c.change(r)
			want := source.Checkout{
				Location: r.dir, Dir: r.dir,
				Facts: images.SourceFacts{Kind: images.SourceDir, Commit: r.main, Dirty: c.dirty, Tag: "v0.5.0", Depth: 2, Time: committed, TreeID: r.git("--no-replace-objects", "rev-parse", "HEAD^{tree}"), Tree: llamaTree},
			}
			got := resolve(t, r.resolver(), r.dir, "")
			content := got.Content
			if c.dirty {
				want.Facts.Content = content.Digest()
			}
			if diff := compare(want, got); diff != "" {
				t.Error(diff)
			}
			has := func(path string) bool {
				return slices.ContainsFunc(content.Entries, func(e source.Entry) bool { return e.Path == path })
			}
			if c.sent != "" && !has(c.sent) || has("build") || has("void") || has("build/x") || has(".git") || has("inner/.git") {
				t.Errorf("sent: %v", content.Entries)
			}
		})
	}
	t.Run("a folder inside stands for its repository", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		if c := resolve(t, r.resolver(), filepath.Join(r.dir, "ggml"), ""); c.Dir != r.dir || c.Location != r.dir {
			t.Errorf("got %+v", c)
		}
	})
	t.Run("file URL", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		if c := resolve(t, r.resolver(), "file://"+r.dir, ""); c.Dir != r.dir {
			t.Errorf("got %+v", c)
		}
	})
}

// compare leaves out what a tree consists of, which has tests of its own.
func compare(x, y source.Checkout) string {
	return cmp.Diff(x, y, cmpopts.IgnoreFields(source.Checkout{}, "Content"))
}

// touch gives a file a time of long ago.
func touch(t *testing.T, r *repo, name string) {
	t.Helper()
	old := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(r.dir, name), old, old); err != nil {
		t.Fatal(err)
	}
}

func TestRemote(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.git("update-ref", "refs/pull/12345/head", r.side)
	url := r.serve()
	for name, c := range map[string]struct{ ref, commit, tag, says string }{
		"tag":                     {"old", r.old, "old", "old"},
		"annotated tag":           {"v0.5.0", r.main, "v0.5.0", "v0.5.0"},
		"branch":                  {"side", r.side, "", "side"},
		"no ref is HEAD":          {"", r.main, "", "HEAD"},
		"full branch name":        {"refs/heads/both", r.side, "", "refs/heads/both"},
		"full tag name":           {"refs/tags/both", r.old, "both", "refs/tags/both"},
		"full annotated tag name": {"refs/tags/v0.5.0", r.main, "v0.5.0", "refs/tags/v0.5.0"},
		"full commit":             {r.side, r.side, "", r.side},
		"below refs: a branch":    {"heads/both", r.side, "", "heads/both"},
		"below refs: a tag":       {"tags/v0.5.0", r.main, "v0.5.0", "tags/v0.5.0"},
		"a pull request":          {"pull/12345/head", r.side, "", "pull/12345/head"},
		"a full pull request":     {"refs/pull/12345/head", r.side, "", "refs/pull/12345/head"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := source.Checkout{Location: url, Ref: c.says, Facts: images.SourceFacts{Kind: images.SourceGit, Commit: c.commit, Tag: c.tag}}
			if diff := compare(want, resolve(t, source.Resolver{Env: r.env}, url, c.ref)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A full commit is not asked for: many servers would not say, and the builder checks it.
func TestRemoteCommitNeedsNoNetwork(t *testing.T) {
	t.Parallel()
	c := resolve(t, source.Resolver{}, "https://127.0.0.1:1/x", strings.Repeat("a", 40))
	if c.Facts.Commit != strings.Repeat("a", 40) || c.Facts.Tree != nil {
		t.Errorf("got %+v", c)
	}
}

func TestIsRemote(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]bool{
		"https://github.com/ggml-org/llama.cpp": true,
		"http://127.0.0.1:1/x":                  true,
		"ssh://git@host/x":                      true,
		"git@github.com:ggml-org/llama.cpp.git": true,
		"file:///x":                             false,
		"/x":                                    false,
		".":                                     false,
		"llama.cpp":                             false,
		`C:\llama`:                              false,
		"":                                      false,
	} {
		if got := source.IsRemote(location); got != want {
			t.Errorf("%q: %v", location, got)
		}
	}
}
