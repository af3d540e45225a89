package llb_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb"
	"github.com/moby/buildkit/solver/pb"
)

func TestEverySourceIsPinned(t *testing.T) {
	t.Parallel()
	pinned := regexp.MustCompile(`^(docker-image|oci-layout)://[^@]+@sha256:[0-9a-f]{64}$|^git://[^#]+#[0-9a-f]{40}$|^local://source$`)
	for name, s := range subjects {
		for _, o := range s.ops(t) {
			src := o.Op.GetSource()
			if src == nil || pinned.MatchString(src.Identifier) {
				continue
			}
			// A graphdriver engine has no digest for what only it has; the recipe
			// names its id, and the builder must not ask a registry for it.
			if name == "base-engine" && src.Attrs[pb.AttrImageResolveMode] == pb.AttrImageResolveModePreferLocal {
				continue
			}
			t.Errorf("%s: %s %v is not pinned", name, src.Identifier, src.Attrs)
		}
	}
}

func TestGitSource(t *testing.T) {
	t.Parallel()
	of := func(s subject) *pb.SourceOp {
		for _, o := range s.ops(t) {
			if src := o.Op.GetSource(); strings.HasPrefix(src.GetIdentifier(), "git://") {
				return src
			}
		}
		t.Fatal("no git source")
		return nil
	}
	if got := of(subjects["cpu-portable-amd64"]).Attrs; got[pb.AttrGitChecksum] != commit || got[pb.AttrGitSkipSubmodules] != "true" {
		t.Errorf("a builder that can check the commit is not told to: %v", got)
	}
	// An old builder refuses attributes that it does not know.
	for _, attr := range []string{pb.AttrGitChecksum, pb.AttrGitSkipSubmodules, pb.AttrKeepGitDir} {
		if v, ok := of(subjects["source-git-old-builder"]).Attrs[attr]; ok {
			t.Errorf("an old builder is told %s=%s", attr, v)
		}
	}
}

func TestBaseNamedByDigest(t *testing.T) {
	t.Parallel()
	s := cpu().with(func(s *subject) {
		s.Base = "docker.io/library/debian:trixie@" + sha("b")
		s.Facts.Build.Ref, s.Facts.Runtime.Ref = s.Base, s.Base
	})
	for _, o := range s.ops(t) {
		if src := o.Op.GetSource(); strings.HasPrefix(src.GetIdentifier(), "docker-image:") && src.Identifier != "docker-image://docker.io/library/debian:trixie@"+sha("b") {
			t.Errorf("got %s", src.Identifier)
		}
	}
}

// The tree that is read for a plan is the very vertex that is compiled later, so
// that it is fetched once.
func TestSourceTreeIsTheGraphsOwn(t *testing.T) {
	t.Parallel()
	for name, s := range subjects {
		p := s.plan(t)
		def, err := llb.SourceTree(images.PlanSource{Kind: p.Source.Kind, Location: p.Source.Location, Commit: p.Source.Commit, Short: p.Source.Short}, s.caps).Marshal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		tree := ops(t, def)[0]
		if !slices.ContainsFunc(s.ops(t), func(o op) bool { return o.digest == tree.digest }) {
			t.Errorf("%s: the plan's tree is another vertex than the graph's", name)
		}
	}
}
