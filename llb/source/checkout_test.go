package source_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
)

func TestLocalCommit(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.write("LICENSE", "a change that is no part of any commit")
	for _, c := range []struct {
		name, ref, commit, tag string
		depth                  int
	}{
		{"branch", "side", r.side, "", 2},
		{"tag", "old", r.old, "old", 1},
		{"annotated tag", "v0.5.0", r.main, "v0.5.0", 2},
		{"full ref", "refs/tags/v0.5.0", r.main, "v0.5.0", 2},
		{"full commit", r.main, r.main, "v0.5.0", 2},
		{"short commit", r.main[:8], r.main, "v0.5.0", 2},
		{"HEAD", "HEAD", r.main, "v0.5.0", 2},
		{"relative", "HEAD~1", r.old, "old", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rs := r.resolver()
			got := resolve(t, rs, r.dir, c.ref)
			if got.Dir != filepath.Join(rs.Dir, c.commit, "tree") || got.Location != r.dir || got.Ref != c.ref {
				t.Errorf("got %+v", got)
			}
			// The first commit has two tags; which one names it is not the point here.
			if c.tag == "old" && got.Facts.Tag == "both" {
				got.Facts.Tag = "old"
			}
			want := images.SourceFacts{Kind: images.SourceCommit, Commit: c.commit, Tag: c.tag, Depth: c.depth, Time: committed, TreeID: r.git("rev-parse", c.commit+"^{tree}"), Tree: llamaTree}
			if diff := cmp.Diff(want, got.Facts); diff != "" {
				t.Error(diff)
			}
			if text, err := os.ReadFile(filepath.Join(got.Dir, "LICENSE")); err != nil || string(text) != "MIT\n" {
				t.Errorf("the tree holds %q, %v: want what was committed", text, err)
			}
		})
	}
	t.Cleanup(func() {
		if got := r.git("status", "--porcelain"); got != "M LICENSE" {
			t.Errorf("the repository was touched: %q", got)
		}
	})
}

func TestLocalCommitOfAShallowCloneHasNoDepth(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	shallow := filepath.Join(t.TempDir(), "shallow")
	r.git("clone", "-q", "--depth", "1", "file://"+r.dir, shallow)
	if c := resolve(t, r.resolver(), shallow, "HEAD"); c.Facts.Depth != 0 || c.Facts.Commit != r.main {
		t.Errorf("got %+v", c.Facts)
	}
}

func TestBundle(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	for name, c := range map[string]struct {
		in              []string
		ref, want, says string
	}{
		"HEAD":              {[]string{"HEAD"}, "", r.main, "HEAD"},
		"a branch alone":    {[]string{"side"}, "", r.side, "refs/heads/side"},
		"a branch by name":  {[]string{"HEAD", "side"}, "side", r.side, "side"},
		"an annotated tag":  {[]string{"HEAD", "v0.5.0"}, "v0.5.0", r.main, "v0.5.0"},
		"a lightweight tag": {[]string{"HEAD", "old"}, "old", r.old, "old"},
		"a commit":          {[]string{"HEAD"}, r.old, r.old, r.old},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, rs := r.bundle(c.in...), r.resolver()
			first := resolve(t, rs, file, c.ref)
			if first.Facts.Commit != c.want || first.Ref != c.says || first.Location != file || first.Facts.Kind != images.SourceCommit {
				t.Errorf("got %+v, want %s of ref %s", first, c.want, c.says)
			}
			if got := files(t, first.Dir); c.want == r.old && !slices.Equal(got, oldFiles) {
				t.Errorf("the tree holds %q, want %q", got, oldFiles)
			}
			if diff := compare(first, resolve(t, rs, file, c.ref)); diff != "" {
				t.Errorf("the second time (-first +second):\n%s", diff)
			}
		})
	}
}

func TestKeptTreeIsUsedAgain(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	for name, location := range map[string]string{"repository": r.dir, "bundle": r.bundle("HEAD")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rs := r.resolver()
			first := resolve(t, rs, location, "HEAD")
			// A mark that another checkout would not have.
			if err := os.WriteFile(filepath.Join(filepath.Dir(first.Dir), "mark"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			second := resolve(t, rs, location, "HEAD")
			if diff := compare(first, second); diff != "" {
				t.Error(diff)
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(second.Dir), "mark")); err != nil {
				t.Error("the tree was checked out again")
			}
		})
	}
}

func TestDamagedKeptTreeIsReplaced(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	rs := r.resolver()
	first := resolve(t, rs, r.dir, "HEAD")
	if err := os.WriteFile(filepath.Join(rs.Dir, r.main, "facts.json"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if diff := compare(first, resolve(t, rs, r.dir, "HEAD")); diff != "" {
		t.Error(diff)
	}
}

// A kept tree is a commit's by what it holds, not because it is there.
func TestChangedKeptTreeIsReplaced(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	rs := r.resolver()
	first := resolve(t, rs, r.dir, "HEAD")
	license := filepath.Join(first.Dir, "LICENSE")
	info, err := os.Stat(license)
	if err != nil {
		t.Fatal(err)
	}
	// Of the same size and time.
	if err := errors.Join(os.WriteFile(license, []byte("mit\n"), 0o644), os.Chtimes(license, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
	second := resolve(t, rs, r.dir, "HEAD")
	if text, err := os.ReadFile(filepath.Join(second.Dir, "LICENSE")); err != nil || string(text) != "MIT\n" {
		t.Errorf("the tree holds %q, %v", text, err)
	}
	if second.Content.Digest() != first.Content.Digest() {
		t.Error("the content is called another")
	}
}

func TestFailedCheckoutLeavesNothing(t *testing.T) {
	t.Parallel()
	empty := func(t *testing.T, dir string) {
		t.Helper()
		if left := files(t, filepath.Dir(dir)); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
	t.Run("no llama.cpp", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		r.git("rm", "-rq", "tools")
		r.commit("no server")
		rs := r.resolver()
		_, err := rs.Resolve(t.Context(), r.dir, "HEAD")
		if fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), "not a llama.cpp tree") {
			t.Errorf("got %v", err)
		}
		empty(t, rs.Dir)
	})
	t.Run("a damaged repository", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		blob := r.git("rev-parse", "HEAD:second")
		if err := os.Remove(filepath.Join(r.dir, ".git", "objects", blob[:2], blob[2:])); err != nil {
			t.Fatal(err)
		}
		rs := r.resolver()
		if _, err := rs.Resolve(t.Context(), r.dir, "HEAD"); fault.ClassOf(err) != fault.Machine {
			t.Errorf("got %v", err)
		}
		empty(t, rs.Dir)
	})
	// A filter that waits at a pipe stands for a checkout that is slow.
	t.Run("interrupted", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		begun := filepath.Join(t.TempDir(), "begun")
		r.write(".gitattributes", "second filter=slow\n")
		r.commit("slow")
		pipe := filepath.Join(t.TempDir(), "pipe")
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
		// The filter outlives its git and ends when the pipe does.
		t.Cleanup(func() {
			if w, err := os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
				w.Close()
			}
		})
		r.git("config", "filter.slow.smudge", "touch "+begun+"; exec cat "+pipe)
		rs := r.resolver()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() {
			_, err := rs.Resolve(ctx, r.dir, "HEAD")
			done <- err
		}()
		for deadline := time.Now().Add(20 * time.Second); ; {
			if _, err := os.Stat(begun); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("git never came to the filter")
			}
			time.Sleep(5 * time.Millisecond)
		}
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) || fault.ClassOf(err) != fault.Unexpected {
				t.Errorf("class %d: %v, want the context's own cause", fault.ClassOf(err), err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("still running")
		}
		empty(t, rs.Dir)
	})
}

// A llama.cpp that is kept inside another repository is a tree of its own, whose
// files the other's commit alone does not name.
func TestTreeInsideAnotherRepository(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	outer := filepath.Join(t.TempDir(), "outer")
	for _, inner := range []string{"one", "two"} {
		r.git("worktree", "add", "-q", "--detach", filepath.Join(outer, inner), "HEAD")
		if err := os.Remove(filepath.Join(outer, inner, ".git")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(outer, "two", "LICENSE"), []byte("other\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	super := &repo{t: t, dir: outer, env: r.env}
	super.git("init", "-q")
	commit := super.commit("both")
	super.git("tag", "v9.9.9")
	var seen []string
	for _, ref := range []string{"", "HEAD"} {
		for _, inner := range []string{"one", "two"} {
			dir := filepath.Join(outer, inner)
			c := resolve(t, r.resolver(), dir, ref)
			if c.Location != dir || c.Facts.Commit != commit || c.Facts.Dirty || c.Facts.Tag != "" || c.Facts.Depth != 0 {
				t.Errorf("%s at %q: %+v", inner, ref, c)
			}
			if c.Facts.Content != c.Content.Digest() {
				t.Errorf("%s at %q is called %q, and holds %s", inner, ref, c.Facts.Content, c.Content.Digest())
			}
			seen = append(seen, c.Facts.Content)
		}
	}
	if seen[0] == seen[1] || seen[0] != seen[2] || seen[1] != seen[3] {
		t.Errorf("contents of one, two, and their commits: %q", seen)
	}
}

// What to do about a repository fits what is wrong with it.
func TestRemedies(t *testing.T) {
	t.Parallel()
	t.Run("a partial clone", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		r.git("config", "uploadpack.allowFilter", "true")
		partial := filepath.Join(t.TempDir(), "partial")
		r.git("clone", "-q", "--no-checkout", "--filter=blob:none", "file://"+r.dir, partial)
		if err := os.Rename(r.dir, r.dir+"-gone"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Rename(r.dir+"-gone", r.dir) })
		_, err := r.resolver().Resolve(t.Context(), partial, "HEAD")
		if report := fault.Report(err); !strings.Contains(report, "partial clone") || !strings.Contains(report, "--refetch") || strings.Contains(report, "disk") {
			t.Error(report)
		}
	})
	t.Run("another's repository", func(t *testing.T) {
		t.Parallel()
		if os.Geteuid() != 0 {
			t.Skip("needs root, to give a repository away")
		}
		r := newRepo(t)
		if err := os.Chown(r.dir, 1000, 1000); err != nil {
			t.Fatal(err)
		}
		for _, ref := range []string{"", "HEAD"} {
			_, err := r.resolver().Resolve(t.Context(), r.dir, ref)
			if report := fault.Report(err); !strings.Contains(report, "safe.directory "+r.dir) || fault.ClassOf(err) != fault.Usage {
				t.Error(report)
			}
		}
	})
}
