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

// Known completes what is known of a remote commit, which the builder fetches, by its
// time and the id of its files: the commit alone is fetched here, without any file.
func (r Resolver) Known(ctx context.Context, location string, f images.SourceFacts) (images.SourceFacts, error) {
	if !f.Time.IsZero() && f.TreeID != "" {
		return f, nil
	}
	dir, err := os.MkdirTemp("", "llorch-commit-")
	if err != nil {
		return f, fault.New(fault.Machine, "there is no room for a commit", err, "")
	}
	defer os.RemoveAll(dir)
	if _, err := r.git(ctx, dir, "init", "--quiet", "--bare"); err != nil {
		return f, err
	}
	// A server that cannot leave files out sends them all.
	fetch := []string{"fetch", "--quiet", "--depth=1", "--no-tags", "--filter=tree:0", "--", location, f.Commit}
	if _, err := r.git(ctx, dir, fetch...); err != nil {
		var g *gitError
		if errors.As(err, &g) && strings.Contains(g.all, "not our ref") {
			return f, fault.New(fault.Usage, fmt.Sprintf("there is no commit %s at %s", f.Commit, location), err, "check --source and --ref; a commit that no branch leads to may be gone for good")
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
