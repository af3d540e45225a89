package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
)

// factsFile lies beside a checked-out tree: what was known of its commit then.
const factsFile = "facts.json"

// kept returns the tree of a commit that was checked out before.
func (r Resolver) kept(commit string) (Checkout, bool) {
	home := filepath.Join(r.Dir, commit)
	data, err := os.ReadFile(filepath.Join(home, factsFile))
	if err != nil {
		return Checkout{}, false
	}
	var c Checkout
	if json.Unmarshal(data, &c.Facts) != nil || c.Facts.Commit != commit || c.Facts.Tree == nil {
		return Checkout{}, false
	}
	c.Dir = filepath.Join(home, "tree")
	// The program that checked it out may have known less of what to look for.
	if c.Facts.Tree, err = readTree(c.Dir); err != nil {
		return Checkout{}, false
	}
	return c, true
}

// checkout puts the tree of one commit into the cache folder. The tree appears
// there whole or not at all.
func (r Resolver) checkout(ctx context.Context, gitDir, location, ref string) (Checkout, error) {
	facts, err := r.describe(ctx, gitDir, ref)
	if err != nil {
		return Checkout{}, err
	}
	facts.Kind = images.SourceCommit
	if c, ok := r.kept(facts.Commit); ok {
		// The tree is the commit's for ever; its tag and depth are today's.
		facts.Tree = c.Facts.Tree
		return Checkout{Location: location, Ref: ref, Facts: facts, Dir: c.Dir}, nil
	}
	r.sweep()
	if err := os.MkdirAll(r.Dir, 0o755); err != nil {
		return Checkout{}, fault.New(fault.Machine, "the cache folder cannot be made", err, "name another with LLORCH_CACHE_DIR")
	}
	tmp, err := os.MkdirTemp(r.Dir, ".checkout-")
	if err != nil {
		return Checkout{}, fault.New(fault.Machine, "the cache folder cannot be written", err, "name another with LLORCH_CACHE_DIR")
	}
	defer os.RemoveAll(tmp)
	tree := filepath.Join(tmp, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return Checkout{}, err
	}
	// An index of its own: the repository's must not be touched.
	index := Resolver{Env: r.Env, extra: []string{"GIT_INDEX_FILE=" + filepath.Join(tmp, "index")}}
	args := []string{"-c", "core.autocrlf=false", "--git-dir", gitDir, "--work-tree", tree}
	if _, err := index.git(ctx, tree, append(args, "read-tree", facts.Commit)...); err != nil {
		return Checkout{}, fmt.Errorf("reading commit %s: %w", facts.Commit, err)
	}
	if _, err := index.git(ctx, tree, append(args, "checkout-index", "--all", "--force")...); err != nil {
		return Checkout{}, fault.New(fault.Machine, "the tree of commit "+facts.Commit+" cannot be written", err, "look for free disk space in "+r.Dir)
	}
	if facts.Tree, err = readTree(tree); err != nil {
		return Checkout{}, err
	}
	data, err := json.Marshal(facts)
	if err != nil {
		return Checkout{}, err
	}
	if err := os.WriteFile(filepath.Join(tmp, factsFile), data, 0o644); err != nil {
		return Checkout{}, err
	}
	home := filepath.Join(r.Dir, facts.Commit)
	if err := os.Rename(tmp, home); err != nil {
		if c, ok := r.kept(facts.Commit); ok { // Somebody else was faster.
			c.Location, c.Ref = location, ref
			return c, nil
		}
		// What lies there is no tree of ours any more.
		if err := errors.Join(os.RemoveAll(home), os.Rename(tmp, home)); err != nil {
			return Checkout{}, fmt.Errorf("keeping the tree: %w", err)
		}
	}
	if err := os.Chmod(home, 0o755); err != nil {
		return Checkout{}, err
	}
	return Checkout{Location: location, Ref: ref, Facts: facts, Dir: filepath.Join(home, "tree")}, nil
}

// sweep removes what killed checkouts have left, once nobody can be at it.
func (r Resolver) sweep() {
	left, _ := filepath.Glob(filepath.Join(r.Dir, ".checkout-*"))
	for _, dir := range left {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
			_ = os.RemoveAll(dir)
		}
	}
}

// describe finds commit, tag, time and depth of a ref in a repository at dir.
func (r Resolver) describe(ctx context.Context, dir, ref string) (images.SourceFacts, error) {
	var f images.SourceFacts
	out, err := r.git(ctx, dir, "log", "-1", "--no-show-signature", "--format=%H %ct", "--end-of-options", ref, "--")
	if err != nil {
		var missing *fault.Fault
		if errors.As(err, &missing) {
			return f, err
		}
		return f, fault.New(fault.Usage, fmt.Sprintf("there is no ref %q in %s", ref, dir), err, "list what is there: git tag, git branch --all")
	}
	id, seconds, _ := strings.Cut(strings.TrimSpace(out), " ")
	if !fullCommit.MatchString(id) {
		return f, fmt.Errorf("git names the commit of %q as %q", ref, id)
	}
	f.Commit = id
	if n, err := strconv.ParseInt(seconds, 10, 64); err == nil {
		f.Time = time.Unix(n, 0).UTC()
	}
	// A commit can have several tags; a version says more than a build tag.
	if out, err := r.git(ctx, dir, "tag", "--points-at", id); err == nil {
		for _, tag := range strings.Fields(out) {
			if f.Tag == "" || strings.HasPrefix(tag, "v") {
				f.Tag = tag
			}
		}
	}
	if out, err := r.git(ctx, dir, "rev-parse", "--is-shallow-repository"); err == nil && strings.TrimSpace(out) == "false" {
		if out, err := r.git(ctx, dir, "rev-list", "--count", id); err == nil {
			f.Depth, _ = strconv.Atoi(strings.TrimSpace(out))
		}
	}
	return f, nil
}

// readTree recognises llama.cpp in a folder.
func readTree(dir string) (*images.Tree, error) {
	files := map[string][]byte{}
	for _, name := range images.TreeFiles {
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files[name] = data
	}
	return images.ReadTree(files)
}
