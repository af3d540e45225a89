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
	"github.com/opencontainers/go-digest"
)

// factsFile is beside a checked-out tree, with the facts of its commit at that time.
const factsFile = "facts.json"

// keptFacts is the content of factsFile.
type keptFacts struct {
	images.SourceFacts
	// Files is the digest of the tree's content when it was checked out.
	Files string `json:"files"`
}

// home is the folder for the tree of a commit, or of a folder in the commit.
func (r Resolver) home(commit, prefix string) string {
	if prefix != "" {
		commit += "-" + digest.FromString(prefix).Encoded()[:16]
	}
	return filepath.Join(r.Dir, commit)
}

// kept returns the tree of a commit that was checked out before, if its content has not
// changed since.
func (r Resolver) kept(ctx context.Context, commit, prefix string) (Checkout, bool) {
	home := r.home(commit, prefix)
	data, err := os.ReadFile(filepath.Join(home, factsFile))
	if err != nil {
		return Checkout{}, false
	}
	var k keptFacts
	if json.Unmarshal(data, &k) != nil || k.Commit != commit {
		return Checkout{}, false
	}
	c := Checkout{Facts: k.SourceFacts, Dir: filepath.Join(home, "tree")}
	content, err := Read(ctx, c.Dir, nil)
	if err != nil || content.Digest() != k.Files {
		return Checkout{}, false
	}
	c.Content = &content
	// Another version of this program, which looked for less, may have written the facts.
	if c.Facts.Tree, err = readTree(c.Dir); err != nil {
		return Checkout{}, false
	}
	return c, true
}

// checkout writes the tree of a commit, or of a folder in it, into the cache folder. It
// appears there complete or not at all.
func (r Resolver) checkout(ctx context.Context, gitDir, location, ref, prefix string) (Checkout, error) {
	facts, err := r.describe(ctx, gitDir, ref, prefix)
	if err != nil {
		return Checkout{}, err
	}
	facts.Kind = images.SourceCommit
	if c, ok := r.kept(ctx, facts.Commit, prefix); ok {
		// The tree of a commit never changes, but its tag and depth can.
		facts.Tree, facts.Content = c.Facts.Tree, c.Facts.Content
		return Checkout{Location: location, Ref: ref, Facts: facts, Dir: c.Dir, Content: c.Content}, nil
	}
	r.sweep()
	if err := os.MkdirAll(r.Dir, 0o755); err != nil {
		return Checkout{}, fault.New(fault.Machine, "cannot create the cache folder", err, "set LLORCH_CACHE_DIR to another folder")
	}
	tmp, err := os.MkdirTemp(r.Dir, ".checkout-")
	if err != nil {
		return Checkout{}, fault.New(fault.Machine, "cannot write to the cache folder", err, "set LLORCH_CACHE_DIR to another folder")
	}
	defer os.RemoveAll(tmp)
	tree := filepath.Join(tmp, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return Checkout{}, err
	}
	// Use an own index: the repository's must not change.
	index := Resolver{Env: r.Env, extra: []string{"GIT_INDEX_FILE=" + filepath.Join(tmp, "index")}}
	args := []string{"-c", "core.autocrlf=false", "--git-dir", gitDir, "--work-tree", tree}
	if _, err := index.git(ctx, tree, append(args, "read-tree", facts.Commit+":"+strings.TrimSuffix(prefix, "/"))...); err != nil {
		return Checkout{}, r.unwritten(ctx, gitDir, facts.Commit, err)
	}
	if _, err := index.git(ctx, tree, append(args, "checkout-index", "--all", "--force")...); err != nil {
		return Checkout{}, r.unwritten(ctx, gitDir, facts.Commit, err)
	}
	if facts.Tree, err = readTree(tree); err != nil {
		return Checkout{}, err
	}
	content, err := Read(ctx, tree, nil)
	if err != nil {
		return Checkout{}, err
	}
	if prefix != "" {
		facts.Content = content.Digest()
	}
	data, err := json.Marshal(keptFacts{facts, content.Digest()})
	if err != nil {
		return Checkout{}, err
	}
	if err := os.WriteFile(filepath.Join(tmp, factsFile), data, 0o644); err != nil {
		return Checkout{}, err
	}
	home := r.home(facts.Commit, prefix)
	if err := os.Rename(tmp, home); err != nil {
		if c, ok := r.kept(ctx, facts.Commit, prefix); ok { // Another process was faster.
			c.Location, c.Ref = location, ref
			return c, nil
		}
		// The folder exists, but its content is not the commit's tree any more.
		if err := errors.Join(os.RemoveAll(home), os.Rename(tmp, home)); err != nil {
			return Checkout{}, fmt.Errorf("store the tree: %w", err)
		}
	}
	if err := os.Chmod(home, 0o755); err != nil {
		return Checkout{}, err
	}
	content.Dir = filepath.Join(home, "tree")
	return Checkout{Location: location, Ref: ref, Facts: facts, Dir: content.Dir, Content: &content}, nil
}

// unwritten explains why a commit's tree could not be written: the disk, or a repository
// that does not have the whole commit.
func (r Resolver) unwritten(ctx context.Context, gitDir, commit string, err error) error {
	var f *fault.Fault
	if errors.As(err, &f) || ctx.Err() != nil {
		return err
	}
	what := "cannot write the tree of commit " + commit
	var g *gitError
	if errors.As(err, &g) && strings.Contains(g.all, "No space left on device") {
		return fault.New(fault.Machine, what, err, "free disk space in "+r.Dir)
	}
	if out, e := r.git(ctx, gitDir, "config", "--get-regexp", `^remote\..*\.(promisor|partialclonefilter)$`); e == nil && out != "" {
		return fault.New(fault.Machine, what, fmt.Errorf("%s is a partial clone, and its missing objects cannot be fetched: %w", gitDir, err),
			"give it access to its remote, or complete it there: git fetch --refetch --no-filter")
	}
	return fault.New(fault.Machine, what, err, "check the repository (git fsck), and that "+r.Dir+" is writable")
}

// sweep removes leftovers of killed checkouts that are too old to be in use.
func (r Resolver) sweep() {
	left, _ := filepath.Glob(filepath.Join(r.Dir, ".checkout-*"))
	for _, dir := range left {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
			_ = os.RemoveAll(dir)
		}
	}
}

// describe finds commit, tag, time and depth of a ref in the repository at dir. If the tree
// is only a folder of the repository, tag and depth do not apply to it and stay empty.
func (r Resolver) describe(ctx context.Context, dir, ref, prefix string) (images.SourceFacts, error) {
	var f images.SourceFacts
	out, err := r.git(ctx, dir, "log", "-1", "--no-show-signature", "--format=%H %ct %T", "--end-of-options", ref, "--")
	if err != nil {
		var missing *fault.Fault
		if known := localFault(dir, err); errors.As(err, &missing) || strings.Contains(err.Error(), "dubious ownership") {
			return f, known
		}
		return f, fault.New(fault.Usage, fmt.Sprintf("no ref %q in %s", ref, dir), err, "list the refs: git tag; git branch --all")
	}
	id, rest, _ := strings.Cut(strings.TrimSpace(out), " ")
	if !fullCommit.MatchString(id) {
		return f, fmt.Errorf("git returned %[2]q as the commit of %[1]q", ref, id)
	}
	f.Commit = id
	seconds, tree, _ := strings.Cut(rest, " ")
	if n, err := strconv.ParseInt(seconds, 10, 64); err == nil {
		f.Time = time.Unix(n, 0).UTC()
	}
	if prefix != "" {
		return f, nil
	}
	f.TreeID = tree
	// A commit can have several tags. A version tag is preferred to a build tag.
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

// readTree reads a llama.cpp tree from a folder.
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
