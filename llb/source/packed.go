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

// packedRef is the only ref in a git bundle that Pack writes.
const packedRef = "refs/heads/locked"

// Pack writes one commit of a source, without its history, into a git bundle. git can fetch
// it into a repository whose file "shallow" lists the commit, so that git does not expect the
// commit's parents.
func (r Resolver) Pack(ctx context.Context, location, commit, file string) error {
	dir, err := os.MkdirTemp("", "llorch-pack-")
	if err != nil {
		return fault.New(fault.Machine, "cannot create a temporary folder for the commit", err, "free disk space, or set TMPDIR to another folder")
	}
	defer os.RemoveAll(dir)
	if _, err := r.git(ctx, dir, "init", "--quiet", "--bare"); err != nil {
		return err
	}
	if err := r.fetchInto(ctx, dir, location, commit); err != nil {
		return err
	}
	// The fetch may have brought more commits. Only this one is packed.
	if err := cut(dir, commit); err != nil {
		return err
	}
	if _, err := r.git(ctx, dir, "update-ref", packedRef, commit); err != nil {
		return gone(commit, location, err)
	}
	// With threads, the bundle of the same commit would differ each time.
	if _, err := r.git(ctx, dir, "-c", "pack.threads=1", "bundle", "create", "--quiet", file, packedRef); err != nil {
		return fault.New(fault.Machine, "cannot pack commit "+commit, err, "check that the disk has enough free space")
	}
	return nil
}

func gone(commit, location string, err error) error {
	return fault.New(fault.Usage, fmt.Sprintf("no commit %s at %s", commit, location), err, "check the lock's source; the server may have deleted a commit that is on no branch")
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
		return fault.New(fault.Usage, "cannot unpack the git bundle "+location, err, "check it: git bundle verify FILE")
	}
	return nil
}

// cut marks a commit in a bare repository as one without parents.
func cut(dir, commit string) error {
	return os.WriteFile(filepath.Join(dir, "shallow"), []byte(commit+"\n"), 0o600)
}

// Packed checks out the commit in a git bundle that Pack wrote. Its location is that of the
// original repository.
func (r Resolver) Packed(ctx context.Context, file, location, commit string) (Checkout, error) {
	as := func(c Checkout) Checkout {
		c.Location, c.Ref = location, commit
		// The image's labels must not depend on how the source was transferred.
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
		return Checkout{}, fault.New(fault.Machine, "cannot create a temporary folder for the commit", err, "free disk space, or set TMPDIR to another folder")
	}
	defer os.RemoveAll(dir)
	if _, err := r.git(ctx, dir, "init", "--quiet", "--bare"); err != nil {
		return Checkout{}, err
	}
	if err := cut(dir, commit); err != nil {
		return Checkout{}, err
	}
	if _, err := r.git(ctx, dir, "fetch", "--quiet", "--no-tags", "--", file, packedRef); err != nil {
		return Checkout{}, fault.New(fault.Usage, "cannot unpack the git bundle "+file, err, "make the bundle again: llorch-bk bundle create")
	}
	c, err := r.checkout(ctx, dir, location, commit, "")
	return as(c), err
}
