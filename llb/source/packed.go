package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
)

// packedRef is the one ref of a git bundle that Pack writes.
const packedRef = "refs/heads/locked"

// Pack writes one commit of a source into a git bundle, without its history. A
// repository that is told beforehand that the commit's parents are missing (a file
// "shallow" with its id) can fetch it with git.
func (r Resolver) Pack(ctx context.Context, location, commit, file string) error {
	dir, err := os.MkdirTemp("", "llorch-pack-")
	if err != nil {
		return fault.New(fault.Machine, "there is no room for a commit", err, "")
	}
	defer os.RemoveAll(dir)
	if _, err := r.git(ctx, dir, "init", "--quiet", "--bare"); err != nil {
		return err
	}
	if err := r.fetchInto(ctx, dir, location, commit); err != nil {
		return err
	}
	// What was fetched may be more than one commit; what is packed is not.
	if err := cut(dir, commit); err != nil {
		return err
	}
	if _, err := r.git(ctx, dir, "update-ref", packedRef, commit); err != nil {
		return gone(commit, location, err)
	}
	// Threads would make another file of the same commit each time.
	if _, err := r.git(ctx, dir, "-c", "pack.threads=1", "bundle", "create", "--quiet", file, packedRef); err != nil {
		return fault.New(fault.Machine, "commit "+commit+" cannot be packed", err, "check that there is room for it")
	}
	return nil
}

func gone(commit, location string, err error) error {
	return fault.New(fault.Usage, fmt.Sprintf("there is no commit %s at %s", commit, location), err, "check the lock's source; a commit that no branch leads to may be gone for good")
}

// fetchInto fetches a commit into a bare repository.
func (r Resolver) fetchInto(ctx context.Context, dir, location, commit string) error {
	if remoteURL.MatchString(location) {
		if _, err := r.git(ctx, dir, "fetch", "--quiet", "--depth=1", "--no-tags", "--", location, commit); err != nil {
			var g *gitError
			if errors.As(err, &g) && strings.Contains(g.all, "not our ref") {
				return gone(commit, location, err)
			}
			return remoteFault(location, err)
		}
		return nil
	}
	if info, err := os.Stat(location); err == nil && info.IsDir() {
		if _, err := r.git(ctx, dir, "fetch", "--quiet", "--depth=1", "--no-tags", "--", "file://"+location, commit); err != nil {
			return localFault(location, err)
		}
		return nil
	}
	if _, err := r.git(ctx, dir, "bundle", "unbundle", location); err != nil {
		return fault.New(fault.Usage, "the git bundle "+location+" cannot be unpacked", err, "check it: git bundle verify FILE")
	}
	return nil
}

// cut tells a bare repository that it has a commit without its parents.
func cut(dir, commit string) error {
	return os.WriteFile(filepath.Join(dir, "shallow"), []byte(commit+"\n"), 0o600)
}

// Packed is the commit of a git bundle that Pack wrote, as what it is a commit of: the
// repository at location.
func (r Resolver) Packed(ctx context.Context, file, location, commit string) (Checkout, error) {
	as := func(c Checkout) Checkout {
		c.Location, c.Ref = location, commit
		// What an image says of its source does not depend on how the source came.
		if overHTTP.MatchString(location) {
			c.Facts.Kind = images.SourceGit
		}
		return c
	}
	if c, ok := r.kept(ctx, commit, ""); ok {
		return as(c), nil
	}
	dir, err := os.MkdirTemp("", "llorch-packed-")
	if err != nil {
		return Checkout{}, fault.New(fault.Machine, "there is no room for a commit", err, "")
	}
	defer os.RemoveAll(dir)
	if _, err := r.git(ctx, dir, "init", "--quiet", "--bare"); err != nil {
		return Checkout{}, err
	}
	if err := cut(dir, commit); err != nil {
		return Checkout{}, err
	}
	if _, err := r.git(ctx, dir, "fetch", "--quiet", "--no-tags", "--", file, packedRef); err != nil {
		return Checkout{}, fault.New(fault.Usage, "the git bundle "+file+" cannot be unpacked", err, "make the bundle again: llorch-bk bundle create")
	}
	c, err := r.checkout(ctx, dir, location, commit, "")
	return as(c), err
}
