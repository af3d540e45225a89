// Package source finds the commit of a request and, for trees of this machine, the folder
// that is sent to the builder. It is the part of fact finding that needs git and no builder.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
)

// Checkout is a source whose commit is known.
type Checkout struct {
	// Location is the canonical form of the user's source: a URL, or an absolute path.
	Location string
	// Ref is the ref that was resolved; empty for the working tree.
	Ref   string
	Facts images.SourceFacts
	// Dir is the tree on this machine, to be sent to the builder; empty if the builder
	// fetches the commit itself.
	Dir string
	// Content is the content of Dir that is sent. It excludes files that git ignores: build
	// folders and models make a working tree many times larger.
	Content *Content
}

// Resolver finds commits. The zero value works, except that checkouts need a Dir.
type Resolver struct {
	// Dir is the cache folder for checked-out trees.
	Dir string
	// Env is git's environment; nil means this process's.
	Env []string
	// extra is added to git's environment.
	extra []string
}

var (
	overHTTP   = regexp.MustCompile(`^https?://`)
	remoteURL  = regexp.MustCompile(`^(?:(?:https?|ssh|git|git\+ssh)://|[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:)`)
	fullCommit = regexp.MustCompile(`^[0-9a-f]{40}$`)
	someCommit = regexp.MustCompile(`^[0-9a-f]{7,39}$`)
)

// IsRemote reports whether the builder fetches location, instead of this machine reading it.
func IsRemote(location string) bool { return remoteURL.MatchString(location) }

// Resolve finds the commit of ref at location. An empty ref is DefaultRef for the default
// repository, the working tree for a directory, and HEAD otherwise. A location or ref that
// does not exist is a fault.Usage; a missing git or network is a fault.Machine.
func (r Resolver) Resolve(ctx context.Context, location, ref string) (Checkout, error) {
	c, err := r.resolve(ctx, location, ref)
	if err != nil && ctx.Err() != nil {
		// Report the cause, and not git's last words before it was stopped.
		return Checkout{}, context.Cause(ctx)
	}
	return c, err
}

func (r Resolver) resolve(ctx context.Context, location, ref string) (Checkout, error) {
	if strings.HasPrefix(ref, "-") || strings.ContainsAny(ref, " \t\n") {
		return Checkout{}, fault.New(fault.Usage, fmt.Sprintf("%q is not a ref", ref), nil, "name a branch, tag or commit with --ref")
	}
	if remoteURL.MatchString(location) {
		return r.remote(ctx, location, ref)
	}
	location = strings.TrimPrefix(location, "file://")
	abs, err := filepath.Abs(location)
	if err != nil {
		return Checkout{}, err
	}
	info, err := os.Stat(abs)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return Checkout{}, fault.New(fault.Usage, fmt.Sprintf("the source %s does not exist", location), nil,
			"--source takes a git URL, a directory or a git bundle")
	case err != nil:
		return Checkout{}, fault.New(fault.Usage, "cannot read the source "+location, err, "check its permissions")
	case info.IsDir() && ref == "":
		return r.workingTree(ctx, abs)
	case info.IsDir():
		return r.localCommit(ctx, abs, ref)
	}
	if ok, err := isBundle(abs); err != nil || !ok {
		return Checkout{}, fault.New(fault.Usage, fmt.Sprintf("the source %s is a file, but not a git bundle", location), err,
			"--source takes a git URL, a directory or a git bundle (git bundle create FILE HEAD)")
	}
	return r.bundle(ctx, abs, ref)
}

// isBundle checks for the signature of git's bundle format, version 2 or 3.
func isBundle(file string) (bool, error) {
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make([]byte, len("# v2 git bundle\n"))
	if _, err := io.ReadFull(f, head); err != nil {
		return false, nil // The file is too short for a bundle.
	}
	return string(head) == "# v2 git bundle\n" || string(head) == "# v3 git bundle\n", nil
}

func (r Resolver) remote(ctx context.Context, location, ref string) (Checkout, error) {
	if err := secretFree(location); err != nil {
		return Checkout{}, err
	}
	if ref == "" {
		ref = "HEAD"
		if strings.TrimSuffix(strings.TrimSuffix(location, "/"), ".git") == images.DefaultRepository {
			ref = images.DefaultRef
		}
	}
	if !overHTTP.MatchString(location) {
		return r.fetched(ctx, location, ref)
	}
	c := Checkout{Location: location, Ref: ref, Facts: images.SourceFacts{Kind: images.SourceGit}}
	if fullCommit.MatchString(ref) {
		c.Facts.Commit = ref
		return c, nil
	}
	// Complete names as git does: pull/12/head and heads/x are below refs/.
	names := []string{ref, "refs/" + ref, "refs/tags/" + ref, "refs/heads/" + ref}
	args := []string{"ls-remote", "--", location}
	for _, name := range names {
		args = append(args, name, name+"^{}")
	}
	out, err := r.git(ctx, "", args...)
	if err != nil {
		return Checkout{}, remoteFault(location, err)
	}
	refs := map[string]string{}
	for line := range strings.Lines(out) {
		if id, name, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			refs[name] = id
		}
	}
	// ^{} is the commit of an annotated tag.
	commit := func(name string) string { return firstOf(refs[name+"^{}"], refs[name]) }
	tag, branch := commit("refs/tags/"+ref), commit("refs/heads/"+ref)
	full := firstOf(commit(names[0]), commit(names[1]))
	switch {
	case full != "":
		c.Facts.Commit = full
		if name, ok := strings.CutPrefix(strings.TrimPrefix(ref, "refs/"), "tags/"); ok {
			c.Facts.Tag = name
		}
	case tag != "" && branch != "" && tag != branch:
		return Checkout{}, fault.New(fault.Usage, fmt.Sprintf("ref %q is both a tag and a branch of %s", ref, location), nil,
			fmt.Sprintf("name one of them: --ref refs/tags/%s or --ref refs/heads/%s", ref, ref))
	case tag != "":
		c.Facts.Commit, c.Facts.Tag = tag, ref
	default:
		c.Facts.Commit = branch
	}
	if c.Facts.Commit == "" {
		do := "list the refs: git ls-remote --tags --heads " + location
		if someCommit.MatchString(ref) {
			do = "a remote repository finds commits only by all 40 digits: give the full id"
		}
		return Checkout{}, fault.New(fault.Usage, fmt.Sprintf("no ref %q at %s", ref, location), nil, do)
	}
	return c, nil
}

// secretFree refuses credentials in a URL, because the URL becomes part of the graph, the
// builder's cache and the image's labels.
func secretFree(location string) error {
	u, err := url.Parse(location)
	if err != nil || u.User == nil {
		return nil //nolint:nilerr // user@host:path is not a URL and cannot have a password.
	}
	if _, password := u.User.Password(); password || overHTTP.MatchString(location) {
		return fault.New(fault.Usage, "the source's URL contains credentials", errors.New("the builder's cache and the image's labels would store them"),
			"remove them from --source and give them to git: git credential, or an ssh URL")
	}
	return nil
}

// fetched checks out one commit of a repository that this machine's git can reach and a
// builder cannot, such as one behind ssh: the keys stay on this machine.
func (r Resolver) fetched(ctx context.Context, location, ref string) (Checkout, error) {
	if fullCommit.MatchString(ref) {
		if c, ok := r.kept(ctx, ref, ""); ok {
			c.Location, c.Ref = location, ref
			return c, nil
		}
	}
	tmp, err := os.MkdirTemp("", "llorch-fetch-")
	if err != nil {
		return Checkout{}, err
	}
	defer os.RemoveAll(tmp)
	if _, err := r.git(ctx, tmp, "init", "--quiet", "--bare"); err != nil {
		return Checkout{}, err
	}
	if _, err := r.git(ctx, tmp, "fetch", "--quiet", "--depth=1", "--no-tags", "--", location, ref); err != nil {
		var g *gitError
		if errors.As(err, &g) && strings.Contains(g.all, "couldn't find remote ref") {
			return Checkout{}, fault.New(fault.Usage, fmt.Sprintf("no ref %q at %s", ref, location), nil, "list the refs: git ls-remote --tags --heads "+location)
		}
		return Checkout{}, remoteFault(location, err)
	}
	c, err := r.checkout(ctx, tmp, location, "FETCH_HEAD", "")
	c.Ref = ref
	return c, err
}

func remoteFault(location string, err error) error {
	var missing *fault.Fault
	if errors.As(err, &missing) {
		return err // git is not installed.
	}
	var g *gitError
	if errors.As(err, &g) {
		said := strings.ToLower(g.all)
		for _, s := range []string{"not found", "does not exist", "does not appear to be a git", "could not read username", "authentication failed", "returned error: 403", "returned error: 401"} {
			if strings.Contains(said, s) {
				return fault.New(fault.Usage, "no readable repository at "+location, err, "check --source; a private repository needs git credentials that work without a prompt")
			}
		}
	}
	return fault.New(fault.Machine, "cannot reach the repository "+location, err,
		"check the network and proxy, or build from a local copy: --source DIR or --source FILE.bundle")
}

// place is the position of a tree in its repository.
type place struct {
	// dir is the tree's top.
	dir string
	// prefix is the path from the repository's top to dir: empty, or with a slash at its
	// end if the tree is inside a larger repository.
	prefix string
}

// locate finds the tree of a folder: the whole repository's, or the folder itself if it is
// a llama.cpp tree inside a larger repository.
func (r Resolver) locate(ctx context.Context, dir string) (place, error) {
	out, err := r.git(ctx, dir, "rev-parse", "--show-toplevel", "--show-prefix")
	if err != nil {
		return place{}, localFault(dir, err)
	}
	top, prefix, _ := strings.Cut(strings.TrimSuffix(out, "\n"), "\n")
	if prefix = strings.TrimSuffix(prefix, "\n"); prefix != "" {
		inner := filepath.Join(top, filepath.FromSlash(prefix))
		if _, err := readTree(inner); err == nil {
			return place{inner, prefix}, nil
		}
	}
	return place{dir: top}, nil
}

// workingTree is a directory with its current content.
func (r Resolver) workingTree(ctx context.Context, dir string) (Checkout, error) {
	at, err := r.locate(ctx, dir)
	if err != nil {
		return Checkout{}, err
	}
	facts, err := r.describe(ctx, at.dir, "HEAD", at.prefix)
	if err != nil {
		return Checkout{}, err
	}
	facts.Kind = images.SourceDir
	if facts.Tree, err = readTree(at.dir); err != nil {
		return Checkout{}, err
	}
	ignored, err := r.git(ctx, at.dir, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
	if err != nil {
		return Checkout{}, localFault(dir, err)
	}
	var leftOut []string
	for path := range strings.SplitSeq(ignored, "\x00") {
		if path != "" {
			leftOut = append(leftOut, strings.TrimSuffix(path, "/"))
		}
	}
	content, err := Read(ctx, at.dir, leftOut)
	if err != nil {
		return Checkout{}, err
	}
	same, err := r.matches(ctx, content, facts.Commit, at.prefix)
	if err != nil {
		return Checkout{}, localFault(dir, err)
	}
	if facts.Dirty = !same; facts.Dirty || at.prefix != "" {
		facts.Content = content.Digest()
	}
	return Checkout{Location: at.dir, Facts: facts, Dir: at.dir, Content: &content}, nil
}

// localCommit checks out one commit of a local repository.
func (r Resolver) localCommit(ctx context.Context, dir, ref string) (Checkout, error) {
	gitDir, err := r.git(ctx, dir, "rev-parse", "--absolute-git-dir")
	if err != nil {
		return Checkout{}, localFault(dir, err)
	}
	at := place{dir: dir}
	// A bare repository has no working tree.
	if bare, err := r.git(ctx, dir, "rev-parse", "--is-bare-repository"); err == nil && strings.TrimSpace(bare) == "false" {
		if at, err = r.locate(ctx, dir); err != nil {
			return Checkout{}, err
		}
	}
	return r.checkout(ctx, strings.TrimSpace(gitDir), dir, ref, at.prefix)
}

// bundle checks out one commit of a git bundle. If the tree was checked out before, the
// bundle is not unpacked.
func (r Resolver) bundle(ctx context.Context, file, ref string) (Checkout, error) {
	heads, err := r.git(ctx, "", "bundle", "list-heads", file)
	if err != nil {
		return Checkout{}, fault.New(fault.Usage, "cannot read the git bundle "+file, err, "make it again: git bundle create FILE HEAD")
	}
	if ref == "" {
		ref = "HEAD"
		if !strings.Contains(heads, " HEAD") {
			// A bundle of only one branch has no HEAD.
			if first, _, ok := strings.Cut(heads, "\n"); ok {
				_, ref, _ = strings.Cut(first, " ")
			}
		}
	}
	for line := range strings.Lines(heads) {
		id, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == ref || name == "refs/heads/"+ref {
			if c, ok := r.kept(ctx, id, ""); ok {
				c.Location, c.Ref = file, ref
				return c, nil
			}
		}
	}
	tmp, err := os.MkdirTemp("", "llorch-bundle-")
	if err != nil {
		return Checkout{}, err
	}
	defer os.RemoveAll(tmp)
	if _, err := r.git(ctx, "", "clone", "--quiet", "--mirror", "--", file, tmp); err != nil {
		return Checkout{}, fault.New(fault.Usage, "cannot unpack the git bundle "+file, err, "check it: git bundle verify FILE")
	}
	return r.checkout(ctx, tmp, file, ref, "")
}

func localFault(dir string, err error) error {
	var f *fault.Fault
	if errors.As(err, &f) {
		return err
	}
	var g *gitError
	if errors.As(err, &g) && strings.Contains(g.all, "dubious ownership") {
		return fault.New(fault.Usage, "git does not trust the source "+dir, errors.New("the repository belongs to another user"),
			"if you trust it: git config --global --add safe.directory "+dir)
	}
	return fault.New(fault.Usage, "the source "+dir+" is not a readable git repository", err,
		"turn an unpacked archive into a repository: git init && git add -A && git commit -m import")
}

// firstOf is the first string that is not empty.
func firstOf(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}
