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

// Known adds the time and the tree id to the facts of a remote commit that the builder
// fetches. It fetches the commit alone, without any file.
func (r Resolver) Known(ctx context.Context, location string, f images.SourceFacts) (images.SourceFacts, error) {
	if !f.Time.IsZero() && f.TreeID != "" {
		return f, nil
	}
	dir, err := os.MkdirTemp("", "llorch-commit-")
	if err != nil {
		return f, fault.New(fault.Machine, "cannot create a temporary folder for the commit", err, "free disk space, or set TMPDIR to another folder")
	}
	defer os.RemoveAll(dir)
	if _, err := r.git(ctx, dir, "init", "--quiet", "--bare"); err != nil {
		return f, err
	}
	// A server that does not support the filter sends all files.
	fetch := []string{"fetch", "--quiet", "--depth=1", "--no-tags", "--filter=tree:0", "--", location, f.Commit}
	if _, err := r.git(ctx, dir, fetch...); err != nil {
		var g *gitError
		if errors.As(err, &g) && strings.Contains(g.all, "not our ref") {
			return f, fault.New(fault.Usage, fmt.Sprintf("no commit %s at %s", f.Commit, location), err, "check --source and --ref; the server may have deleted a commit that is on no branch")
		}
		return f, remoteFault(location, err)
	}
	got, err := r.describe(ctx, filepath.Clean(dir), f.Commit, "")
	if err != nil {
		return f, fmt.Errorf("commit %s of %s: %w", f.Commit, location, err)
	}
	f.Time, f.TreeID = got.Time, got.TreeID
	return f, nil
}
