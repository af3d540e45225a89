package llb_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/llb"
	"github.com/moby/buildkit/solver/pb"
)

// offline is a build to which this machine sends everything.
func offline(t *testing.T) change {
	return func(s *subject) {
		p := s.plan(t)
		s.opt.Session, s.opt.Tree, s.opt.Bundled, s.opt.Sent = "a-session", true, true, []string{llb.NPMMount}
		for _, f := range llb.Fetches(p) {
			s.opt.Sent = append(s.opt.Sent, f.Name)
		}
	}
}

// Nothing of a build to which all is sent reaches for a network: no source that is one's
// elsewhere, and no step that may.
func TestOfflineGraphsHaveNoNetwork(t *testing.T) {
	t.Parallel()
	for name, s := range lockedSubjects() {
		if !s.caps.OCILayout {
			continue
		}
		sent := map[string]bool{}
		for _, o := range s.with(offline(t)).ops(t) {
			switch v := o.Op.Op.(type) {
			case *pb.Op_Source:
				scheme, id, _ := strings.Cut(v.Source.Identifier, "://")
				switch scheme {
				case "local":
					sent[id] = true
					if v.Source.Attrs[pb.AttrLocalSessionID] != "a-session" {
						t.Errorf("%s: %s names no session: another build's could be taken", name, id)
					}
				case "oci-layout":
					if got := v.Source.Attrs[pb.AttrOCILayoutStoreID]; got != llb.BundleStore {
						t.Errorf("%s: %s comes from the store %q", name, id, got)
					}
				default:
					t.Errorf("%s: %s needs a network", name, v.Source.Identifier)
				}
			case *pb.Op_Exec:
				if v.Exec.Network != pb.NetMode_NONE {
					t.Errorf("%s: %s has network %s", name, o.name(), v.Exec.Network)
				}
			}
		}
		want := append([]string{llb.SourceMount}, s.with(offline(t)).opt.Sent...)
		for _, w := range want {
			if !sent[w] && (w != llb.NPMMount || s.plan(t).UI != nil) {
				t.Errorf("%s: %s is not sent", name, w)
			}
		}
	}
}

// What is kept here changes where packages come from, and nothing else: every step that
// is not about fetching is the same, and takes the same folders.
func TestSentPackagesChangeNoStep(t *testing.T) {
	t.Parallel()
	for name, s := range lockedSubjects() {
		fetched := s.execs(t)
		kept := s.with(func(s *subject) {
			for _, f := range llb.Fetches(s.plan(t)) {
				s.opt.Sent = append(s.opt.Sent, f.Name)
			}
		})
		all := kept.ops(t)
		for step, o := range kept.execs(t) {
			// The top of what is sent is another folder to a builder than a step's.
			if debs, m := mount(t, all, o, "/debs"); m != nil && (!m.Readonly || debs.Op.GetFile() == nil) {
				t.Errorf("%s: %s has %s in /debs, which no step laid out", name, step, debs.name())
			}
			was, ok := fetched[step]
			if strings.HasPrefix(step, fetch) || !ok {
				t.Errorf("%s: the step %s is there", name, step)
				continue
			}
			mounts := func(o op) (out []string) {
				for _, m := range o.Op.GetExec().Mounts {
					out = append(out, m.Dest)
				}
				return out
			}
			if diff := cmp.Diff(was.Op.GetExec().Meta.String(), o.Op.GetExec().Meta.String()); diff != "" {
				t.Errorf("%s: %s: %s", name, step, diff)
			}
			if diff := cmp.Diff(mounts(was), mounts(o)); diff != "" {
				t.Errorf("%s: %s: %s", name, step, diff)
			}
		}
	}
}

// The sets are those that steps take, each once.
func TestFetches(t *testing.T) {
	t.Parallel()
	for name, s := range subjects {
		var names []string
		for _, f := range llb.Fetches(s.plan(t)) {
			names = append(names, f.Name)
			if f.Base.Ref == "" || len(f.Packages) == 0 {
				t.Errorf("%s: %+v", name, f)
			}
		}
		if (len(names) > 0) != (s.Facts.Packages != nil) {
			t.Errorf("%s: fetches %q", name, names)
		}
		if slices.Sort(names); len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Errorf("%s: fetches %q", name, names)
		}
	}
}
